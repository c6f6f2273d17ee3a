CREATE TABLE web_page (
    wp_web_page_sk INTEGER NOT NULL PRIMARY KEY,
    wp_web_page_id CHAR(16) NOT NULL,
    wp_rec_start_date DATE,
    wp_rec_end_date DATE,
    wp_creation_date_sk INTEGER REFERENCES date_dim (d_date_sk),
    wp_access_date_sk INTEGER REFERENCES date_dim (d_date_sk),
    wp_autogen_flag CHAR(1),
    wp_customer_sk INTEGER REFERENCES customer (c_customer_sk),
    wp_url VARCHAR(100),
    wp_type CHAR(50),
    wp_char_count INTEGER,
    wp_link_count INTEGER,
    wp_image_count INTEGER,
    wp_max_ad_count INTEGER
) DISTSTYLE ALL;
