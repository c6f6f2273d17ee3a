CREATE TABLE catalog_page (
    cp_catalog_page_sk INTEGER NOT NULL PRIMARY KEY,
    cp_catalog_page_id CHAR(16) NOT NULL,
    cp_start_date_sk INTEGER REFERENCES date_dim (d_date_sk),
    cp_end_date_sk INTEGER REFERENCES date_dim (d_date_sk),
    cp_department VARCHAR(50),
    cp_catalog_number INTEGER,
    cp_catalog_page_number INTEGER,
    cp_description VARCHAR(100),
    cp_type VARCHAR(100)
) DISTSTYLE ALL;
