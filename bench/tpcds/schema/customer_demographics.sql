CREATE TABLE customer_demographics (
    cd_demo_sk INTEGER NOT NULL PRIMARY KEY,
    cd_gender CHAR(1),
    cd_marital_status CHAR(1),
    cd_education_status CHAR(20),
    cd_purchase_estimate INTEGER,
    cd_credit_rating CHAR(10),
    cd_dep_count INTEGER,
    cd_dep_employed_count INTEGER,
    cd_dep_college_count INTEGER
) DISTKEY (cd_demo_sk);
