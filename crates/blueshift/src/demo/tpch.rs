//! The TPC-H schema with its distribution, and the 22 queries with their validation parameters.

/// One table.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) create: &'static str,
}

macro_rules! table {
    ($name:literal) => {
        Table {
            name: $name,
            create: include_str!(concat!("../../../../tests/tpch/schema/", $name, ".sql")),
        }
    };
}

/// In load order.
pub(crate) const TABLES: &[Table] = &[
    table!("region"),
    table!("nation"),
    table!("supplier"),
    table!("customer"),
    table!("part"),
    table!("partsupp"),
    table!("orders"),
    table!("lineitem"),
];

macro_rules! query {
    ($number:literal) => {
        include_str!(concat!("../../../../tests/tpch/queries/q", $number, ".sql"))
    };
}

/// In their numbers' order.
pub(crate) const QUERIES: &[&str] = &[
    query!("01"),
    query!("02"),
    query!("03"),
    query!("04"),
    query!("05"),
    query!("06"),
    query!("07"),
    query!("08"),
    query!("09"),
    query!("10"),
    query!("11"),
    query!("12"),
    query!("13"),
    query!("14"),
    query!("15"),
    query!("16"),
    query!("17"),
    query!("18"),
    query!("19"),
    query!("20"),
    query!("21"),
    query!("22"),
];

/// Both tables have their DISTKEY on the order key.
pub(crate) const COLOCATED_JOIN: &str = "SELECT o_orderpriority, count(*), sum(l_extendedprice) \
    FROM orders JOIN lineitem ON o_orderkey = l_orderkey GROUP BY o_orderpriority";
