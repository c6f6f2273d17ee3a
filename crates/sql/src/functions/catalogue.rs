//! The one table of Redshift's functions: where each belongs and where it comes from.

/// What a function is for, as Redshift's manual groups them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    Aggregate,
    Window,
    Conditional,
    Date,
    Text,
    Math,
    Formatting,
    Hash,
}

/// Where a function comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// DataFusion's function of this name has Redshift's meaning.
    DataFusion,
    /// A function of this crate.
    Own,
    /// Made into other functions or operators while the query is bound.
    Rewritten,
}

use Category::{Aggregate, Conditional, Date, Formatting, Hash, Math, Text, Window};
use Origin::{DataFusion, Own, Rewritten};

/// Every function of Redshift's that is served, by name.
pub const FUNCTIONS: &[(&str, Category, Origin)] = &[
    ("any_value", Aggregate, DataFusion),
    ("approx_distinct", Aggregate, DataFusion),
    ("avg", Aggregate, Own),
    ("bit_and", Aggregate, DataFusion),
    ("bit_or", Aggregate, DataFusion),
    ("bool_and", Aggregate, DataFusion),
    ("bool_or", Aggregate, DataFusion),
    ("count", Aggregate, DataFusion),
    ("every", Aggregate, Rewritten),
    ("listagg", Aggregate, Rewritten),
    ("max", Aggregate, DataFusion),
    ("median", Aggregate, DataFusion),
    ("min", Aggregate, DataFusion),
    ("percentile_cont", Aggregate, DataFusion),
    ("stddev", Aggregate, DataFusion),
    ("stddev_pop", Aggregate, DataFusion),
    ("stddev_samp", Aggregate, DataFusion),
    ("sum", Aggregate, Own),
    ("var_pop", Aggregate, DataFusion),
    ("var_samp", Aggregate, DataFusion),
    ("variance", Aggregate, Rewritten),
    ("cume_dist", Window, DataFusion),
    ("dense_rank", Window, DataFusion),
    ("first_value", Window, DataFusion),
    ("lag", Window, DataFusion),
    ("last_value", Window, DataFusion),
    ("lead", Window, DataFusion),
    ("nth_value", Window, DataFusion),
    ("ntile", Window, DataFusion),
    ("percent_rank", Window, DataFusion),
    ("rank", Window, DataFusion),
    ("ratio_to_report", Window, Rewritten),
    ("row_number", Window, DataFusion),
    ("coalesce", Conditional, DataFusion),
    ("decode", Conditional, Rewritten),
    ("greatest", Conditional, DataFusion),
    ("isnull", Conditional, Rewritten),
    ("least", Conditional, DataFusion),
    ("nullif", Conditional, DataFusion),
    ("nvl", Conditional, Rewritten),
    ("nvl2", Conditional, DataFusion),
    ("add_months", Date, Own),
    ("convert_timezone", Date, Own),
    ("current_date", Date, Own),
    ("current_time", Date, Own),
    ("current_timestamp", Date, Own),
    ("date_add", Date, Rewritten),
    ("date_diff", Date, Rewritten),
    ("date_part", Date, Own),
    ("date_part_year", Date, Rewritten),
    ("date_trunc", Date, DataFusion),
    ("dateadd", Date, Own),
    ("datediff", Date, Own),
    ("getdate", Date, Own),
    ("last_day", Date, Own),
    ("localtime", Date, Own),
    ("localtimestamp", Date, Own),
    ("months_between", Date, Own),
    ("next_day", Date, Own),
    ("now", Date, Own),
    ("pgdate_part", Date, Rewritten),
    ("sysdate", Date, Own),
    ("timeofday", Date, Own),
    ("ascii", Text, DataFusion),
    ("btrim", Text, DataFusion),
    ("char_length", Text, DataFusion),
    ("character_length", Text, DataFusion),
    ("charindex", Text, Rewritten),
    ("chr", Text, DataFusion),
    ("concat", Text, Rewritten),
    ("initcap", Text, DataFusion),
    ("left", Text, DataFusion),
    ("len", Text, Rewritten),
    ("length", Text, DataFusion),
    ("lower", Text, DataFusion),
    ("lpad", Text, DataFusion),
    ("ltrim", Text, DataFusion),
    ("octet_length", Text, DataFusion),
    ("position", Text, DataFusion),
    ("quote_ident", Text, Own),
    ("quote_literal", Text, Own),
    ("regexp_count", Text, DataFusion),
    ("regexp_instr", Text, DataFusion),
    ("regexp_replace", Text, Rewritten),
    ("regexp_substr", Text, Rewritten),
    ("repeat", Text, DataFusion),
    ("replace", Text, DataFusion),
    ("replicate", Text, Rewritten),
    ("reverse", Text, DataFusion),
    ("right", Text, DataFusion),
    ("rpad", Text, DataFusion),
    ("rtrim", Text, DataFusion),
    ("split_part", Text, DataFusion),
    ("strpos", Text, DataFusion),
    ("strtol", Text, Own),
    ("substr", Text, DataFusion),
    ("substring", Text, DataFusion),
    ("textlen", Text, Rewritten),
    ("translate", Text, DataFusion),
    ("upper", Text, DataFusion),
    ("abs", Math, DataFusion),
    ("acos", Math, DataFusion),
    ("asin", Math, DataFusion),
    ("atan", Math, DataFusion),
    ("atan2", Math, DataFusion),
    ("cbrt", Math, DataFusion),
    ("ceil", Math, Own),
    ("ceiling", Math, Rewritten),
    ("cos", Math, DataFusion),
    ("cot", Math, DataFusion),
    ("degrees", Math, DataFusion),
    ("dexp", Math, Rewritten),
    ("dlog1", Math, Rewritten),
    ("dlog10", Math, Rewritten),
    ("exp", Math, DataFusion),
    ("floor", Math, Own),
    ("ln", Math, DataFusion),
    ("log", Math, DataFusion),
    ("mod", Math, Rewritten),
    ("pi", Math, DataFusion),
    ("pow", Math, DataFusion),
    ("power", Math, DataFusion),
    ("radians", Math, DataFusion),
    ("random", Math, DataFusion),
    ("round", Math, DataFusion),
    ("sign", Math, Rewritten),
    ("sin", Math, DataFusion),
    ("sqrt", Math, DataFusion),
    ("tan", Math, DataFusion),
    ("trunc", Math, Own),
    ("to_char", Formatting, Own),
    ("to_date", Formatting, Own),
    ("to_number", Formatting, Rewritten),
    ("to_timestamp", Formatting, Own),
    ("md5", Hash, DataFusion),
    ("sha2", Hash, Rewritten),
    ("to_hex", Hash, DataFusion),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Registry;

    #[test]
    fn every_function_is_there() {
        let registry = Registry::shared();
        for (name, _, origin) in FUNCTIONS {
            let found = registry.scalar(name).is_some()
                || registry.aggregate(name).is_some()
                || registry.window(name).is_some();
            assert!(found || *origin == Rewritten, "{name} is in no registry");
        }
        let own = crate::extensions();
        for (name, _, _) in FUNCTIONS.iter().filter(|(_, _, origin)| *origin == Own) {
            let is = |found: &str, aliases: &[String]| {
                found == *name || aliases.iter().any(|alias| alias == name)
            };
            let found = own.scalar.iter().any(|one| is(one.name(), one.aliases()))
                || own.aggregate.iter().any(|one| is(one.name(), one.aliases()));
            assert!(found, "{name} is not ours");
        }
    }
}
