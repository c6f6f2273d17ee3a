CREATE TABLE household_demographics (
    hd_demo_sk INTEGER NOT NULL PRIMARY KEY,
    hd_income_band_sk INTEGER REFERENCES income_band (ib_income_band_sk),
    hd_buy_potential CHAR(15),
    hd_dep_count INTEGER,
    hd_vehicle_count INTEGER
) DISTSTYLE ALL;
