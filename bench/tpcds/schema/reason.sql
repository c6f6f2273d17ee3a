CREATE TABLE reason (
    r_reason_sk INTEGER NOT NULL PRIMARY KEY,
    r_reason_id CHAR(16) NOT NULL,
    r_reason_desc CHAR(100)
) DISTSTYLE ALL;
