//! The queries of TPC-H, bound and run over empty tables.

use base::SqlType as T;

use super::*;

const D: T = T::Decimal { precision: 12, scale: 2 };

fn v(length: u32) -> T {
    T::Varchar(length)
}

fn sales(fake: &mut Fake) {
    fake.table(
        "lineitem",
        &[
            ("l_orderkey", T::BigInt),
            ("l_partkey", T::BigInt),
            ("l_suppkey", T::BigInt),
            ("l_linenumber", T::Integer),
            ("l_quantity", D),
            ("l_extendedprice", D),
            ("l_discount", D),
            ("l_tax", D),
            ("l_returnflag", T::Char(1)),
            ("l_linestatus", T::Char(1)),
            ("l_shipdate", T::Date),
            ("l_commitdate", T::Date),
            ("l_receiptdate", T::Date),
            ("l_shipinstruct", T::Char(25)),
            ("l_shipmode", T::Char(10)),
            ("l_comment", v(44)),
        ],
        "",
    );
    fake.table(
        "orders",
        &[
            ("o_orderkey", T::BigInt),
            ("o_custkey", T::BigInt),
            ("o_orderstatus", T::Char(1)),
            ("o_totalprice", D),
            ("o_orderdate", T::Date),
            ("o_orderpriority", T::Char(15)),
            ("o_clerk", T::Char(15)),
            ("o_shippriority", T::Integer),
            ("o_comment", v(79)),
        ],
        "",
    );
    fake.table(
        "customer",
        &[
            ("c_custkey", T::BigInt),
            ("c_name", v(25)),
            ("c_address", v(40)),
            ("c_nationkey", T::Integer),
            ("c_phone", T::Char(15)),
            ("c_acctbal", D),
            ("c_mktsegment", T::Char(10)),
            ("c_comment", v(117)),
        ],
        "",
    );
}

fn goods(fake: &mut Fake) {
    fake.table(
        "part",
        &[
            ("p_partkey", T::BigInt),
            ("p_name", v(55)),
            ("p_mfgr", T::Char(25)),
            ("p_brand", T::Char(10)),
            ("p_type", v(25)),
            ("p_size", T::Integer),
            ("p_container", T::Char(10)),
            ("p_retailprice", D),
            ("p_comment", v(23)),
        ],
        "",
    );
    fake.table(
        "supplier",
        &[
            ("s_suppkey", T::BigInt),
            ("s_name", T::Char(25)),
            ("s_address", v(40)),
            ("s_nationkey", T::Integer),
            ("s_phone", T::Char(15)),
            ("s_acctbal", D),
            ("s_comment", v(101)),
        ],
        "",
    );
    fake.table(
        "partsupp",
        &[
            ("ps_partkey", T::BigInt),
            ("ps_suppkey", T::BigInt),
            ("ps_availqty", T::Integer),
            ("ps_supplycost", D),
            ("ps_comment", v(199)),
        ],
        "",
    );
    fake.table(
        "nation",
        &[
            ("n_nationkey", T::Integer),
            ("n_name", T::Char(25)),
            ("n_regionkey", T::Integer),
            ("n_comment", v(152)),
        ],
        "",
    );
    fake.table(
        "region",
        &[("r_regionkey", T::Integer), ("r_name", T::Char(25)), ("r_comment", v(152))],
        "",
    );
}

#[test]
fn the_tpch_queries_bind() {
    let mut fake = Fake::default();
    sales(&mut fake);
    goods(&mut fake);
    for n in 1..=22 {
        // From the folder of the package, in which tests run.
        let path = format!("../../tests/tpch/queries/q{n:02}.sql");
        let text = std::fs::read_to_string(&path).unwrap();
        for (statement, _) in crate::split(&text).unwrap() {
            let started = std::time::Instant::now();
            let bound = bind(&fake, &statement).unwrap_or_else(|e| panic!("q{n}: {e:?}"));
            let bind_us = started.elapsed().as_micros();
            assert!(execute(bound.with_values(&[], &options()).unwrap()).is_ok(), "q{n}");
            if n == 8 {
                eprintln!(
                    "q8 bound in {bind_us} µs, run over empty tables in {} µs",
                    started.elapsed().as_micros()
                );
            }
        }
    }
}
