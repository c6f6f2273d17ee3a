CREATE TABLE inventory (
    inv_date_sk INTEGER NOT NULL REFERENCES date_dim (d_date_sk),
    inv_item_sk INTEGER NOT NULL REFERENCES item (i_item_sk),
    inv_warehouse_sk INTEGER NOT NULL REFERENCES warehouse (w_warehouse_sk),
    inv_quantity_on_hand INTEGER,
    PRIMARY KEY (inv_date_sk, inv_item_sk, inv_warehouse_sk)
) DISTKEY (inv_item_sk) SORTKEY (inv_date_sk);
