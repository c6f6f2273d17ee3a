CREATE TABLE income_band (
    ib_income_band_sk INTEGER NOT NULL PRIMARY KEY,
    ib_lower_bound INTEGER,
    ib_upper_bound INTEGER
) DISTSTYLE ALL;
