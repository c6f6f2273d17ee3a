CREATE TABLE region (
    r_regionkey INTEGER NOT NULL PRIMARY KEY,
    r_name CHAR(25) NOT NULL,
    r_comment VARCHAR(152)
) DISTSTYLE ALL;
