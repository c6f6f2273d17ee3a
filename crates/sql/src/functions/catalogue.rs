//! The one table of Redshift's functions: where each belongs, how it is called and where it comes
//! from. `docs/reference/functions.md` is made from it.

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
    Json,
    Hash,
    Binary,
    System,
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
    /// The session's own, over its catalog: it runs on the leader.
    Leader,
}

/// A function of the table.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    pub name: &'static str,
    pub category: Category,
    pub origin: Origin,
    /// The arguments, those in brackets being optional; with their own parentheses where more
    /// follows these.
    pub arguments: &'static str,
    /// The type of its result.
    pub result: &'static str,
}

const fn f(
    name: &'static str,
    category: Category,
    origin: Origin,
    arguments: &'static str,
    result: &'static str,
) -> Function {
    Function { name, category, origin, arguments, result }
}

use Category::{
    Aggregate, Binary, Conditional, Date, Formatting, Hash, Json, Math, System, Text, Window,
};
use Origin::{DataFusion, Leader, Own, Rewritten};

/// Every function of Redshift's that is served.
pub const FUNCTIONS: &[Function] = &[
    f("any_value", Aggregate, DataFusion, "[DISTINCT] x", "type of x"),
    f("approx_distinct", Aggregate, DataFusion, "x", "BIGINT"),
    f("approximate count", Aggregate, Rewritten, "DISTINCT x", "BIGINT"),
    f(
        "approximate percentile_disc",
        Aggregate,
        Rewritten,
        "(fraction) WITHIN GROUP (ORDER BY x)",
        "type of x",
    ),
    f("avg", Aggregate, Own, "[DISTINCT] number", "BIGINT, NUMERIC(38, s) or DOUBLE PRECISION"),
    f("bit_and", Aggregate, DataFusion, "[DISTINCT] whole", "type of the argument"),
    f("bit_or", Aggregate, DataFusion, "[DISTINCT] whole", "type of the argument"),
    f("bool_and", Aggregate, DataFusion, "condition", "BOOLEAN"),
    f("bool_or", Aggregate, DataFusion, "condition", "BOOLEAN"),
    f("count", Aggregate, DataFusion, "* or [DISTINCT] x", "BIGINT"),
    f("every", Aggregate, Rewritten, "condition", "BOOLEAN"),
    f("grouping", Aggregate, DataFusion, "x [, …]", "INTEGER"),
    f("grouping_id", Aggregate, Rewritten, "x [, …]", "INTEGER"),
    f(
        "listagg",
        Aggregate,
        Rewritten,
        "([DISTINCT] x [, delimiter]) [WITHIN GROUP (ORDER BY …)]",
        "VARCHAR(65535)",
    ),
    f("max", Aggregate, DataFusion, "x", "type of x"),
    f(
        "median",
        Aggregate,
        Rewritten,
        "x",
        "NUMERIC(38, s + 1), or the type of a float, date or timestamp",
    ),
    f("min", Aggregate, DataFusion, "x", "type of x"),
    f(
        "percentile_cont",
        Aggregate,
        Rewritten,
        "(fraction) WITHIN GROUP (ORDER BY x)",
        "NUMERIC with the scales of both, or the type of a float, date or timestamp",
    ),
    f("percentile_disc", Aggregate, Rewritten, "(fraction) WITHIN GROUP (ORDER BY x)", "type of x"),
    f("stddev", Aggregate, DataFusion, "[DISTINCT] number", "DOUBLE PRECISION"),
    f("stddev_pop", Aggregate, DataFusion, "[DISTINCT] number", "DOUBLE PRECISION"),
    f("stddev_samp", Aggregate, DataFusion, "[DISTINCT] number", "DOUBLE PRECISION"),
    f("sum", Aggregate, Own, "[DISTINCT] number", "BIGINT, NUMERIC(38, s) or DOUBLE PRECISION"),
    f("var_pop", Aggregate, DataFusion, "[DISTINCT] number", "DOUBLE PRECISION"),
    f("var_samp", Aggregate, DataFusion, "[DISTINCT] number", "DOUBLE PRECISION"),
    f("variance", Aggregate, Rewritten, "[DISTINCT] number", "DOUBLE PRECISION"),
    f("cume_dist", Window, DataFusion, "", "DOUBLE PRECISION"),
    f("dense_rank", Window, DataFusion, "", "BIGINT"),
    f("first_value", Window, DataFusion, "x", "type of x"),
    f("lag", Window, DataFusion, "x [, rows]", "type of x"),
    f("last_value", Window, DataFusion, "x", "type of x"),
    f("lead", Window, DataFusion, "x [, rows]", "type of x"),
    f("nth_value", Window, DataFusion, "x, n", "type of x"),
    f("ntile", Window, DataFusion, "n", "BIGINT"),
    f("percent_rank", Window, DataFusion, "", "DOUBLE PRECISION"),
    f("rank", Window, DataFusion, "", "BIGINT"),
    f("ratio_to_report", Window, Rewritten, "number", "DOUBLE PRECISION"),
    f("row_number", Window, DataFusion, "", "BIGINT"),
    f("coalesce", Conditional, DataFusion, "x, y [, …]", "common type"),
    f(
        "decode",
        Conditional,
        Rewritten,
        "x, search, result [, …] [, default]",
        "common type of the results",
    ),
    f("greatest", Conditional, DataFusion, "x, y [, …]", "common type"),
    f("ifnull", Conditional, Rewritten, "x, y", "common type"),
    f("isnull", Conditional, Rewritten, "x, y", "common type"),
    f("least", Conditional, DataFusion, "x, y [, …]", "common type"),
    f("nullif", Conditional, DataFusion, "x, y", "type of x"),
    f("nvl", Conditional, Rewritten, "x, y [, …]", "common type"),
    f("nvl2", Conditional, DataFusion, "x, not_null, null", "common type"),
    f("add_months", Date, Own, "moment, months", "TIMESTAMP"),
    f("at time zone", Date, Rewritten, "moment AT TIME ZONE zone", "TIMESTAMP or TIMESTAMPTZ"),
    f("convert_timezone", Date, Own, "[source,] target, moment", "TIMESTAMP"),
    f("current_date", Date, Own, "", "DATE"),
    f("current_time", Date, Own, "", "TIMETZ"),
    f("current_timestamp", Date, Own, "", "TIMESTAMPTZ"),
    f("date_add", Date, Rewritten, "part, n, moment", "TIMESTAMP, TIMESTAMPTZ or TIME"),
    f("date_cmp", Date, Own, "date, date", "INTEGER"),
    f("date_cmp_timestamp", Date, Own, "date, timestamp", "INTEGER"),
    f("date_cmp_timestamptz", Date, Own, "date, timestamptz", "INTEGER"),
    f("date_diff", Date, Rewritten, "part, from, to", "BIGINT"),
    f("date_part", Date, Own, "part, moment", "DOUBLE PRECISION"),
    f("date_part_year", Date, Rewritten, "date", "INTEGER"),
    f("date_trunc", Date, Own, "part, moment", "TIMESTAMP or TIMESTAMPTZ"),
    f("dateadd", Date, Own, "part, n, moment", "TIMESTAMP, TIMESTAMPTZ or TIME"),
    f("datediff", Date, Own, "part, from, to", "BIGINT"),
    f("extract", Date, Rewritten, "part FROM moment", "INTEGER or BIGINT"),
    f("getdate", Date, Own, "", "TIMESTAMP"),
    f("last_day", Date, Own, "moment", "DATE"),
    f("localtime", Date, Own, "", "TIME"),
    f("localtimestamp", Date, Own, "", "TIMESTAMP"),
    f("months_between", Date, Own, "moment, moment", "DOUBLE PRECISION"),
    f("next_day", Date, Own, "moment, day", "DATE"),
    f("now", Date, Own, "", "TIMESTAMPTZ"),
    f("pgdate_part", Date, Rewritten, "part, moment", "DOUBLE PRECISION"),
    f("sysdate", Date, Own, "", "TIMESTAMP"),
    f("timeofday", Date, Own, "", "VARCHAR"),
    f("timestamp_cmp", Date, Own, "timestamp, timestamp", "INTEGER"),
    f("timestamp_cmp_date", Date, Own, "timestamp, date", "INTEGER"),
    f("timestamp_cmp_timestamptz", Date, Own, "timestamp, timestamptz", "INTEGER"),
    f("timestamptz_cmp", Date, Own, "timestamptz, timestamptz", "INTEGER"),
    f("timestamptz_cmp_date", Date, Own, "timestamptz, date", "INTEGER"),
    f("timestamptz_cmp_timestamp", Date, Own, "timestamptz, timestamp", "INTEGER"),
    f("timezone", Date, Own, "zone, moment", "TIMESTAMP or TIMESTAMPTZ"),
    f("tzdb_version", Date, Own, "", "VARCHAR"),
    f("ascii", Text, DataFusion, "text", "INTEGER"),
    f("bpcharcmp", Text, Own, "text, text", "INTEGER"),
    f("btrim", Text, DataFusion, "text [, characters]", "VARCHAR"),
    f("bttext_pattern_cmp", Text, Own, "text, text", "INTEGER"),
    f("char_length", Text, Own, "text or varbyte", "INTEGER"),
    f("character_length", Text, Own, "text or varbyte", "INTEGER"),
    f("charindex", Text, Rewritten, "part, text", "INTEGER"),
    f("chr", Text, Own, "number", "VARCHAR"),
    f("concat", Text, Rewritten, "a, b", "VARCHAR"),
    f("difference", Text, Own, "text, text", "INTEGER"),
    f("initcap", Text, DataFusion, "text", "VARCHAR"),
    f("left", Text, DataFusion, "text, n", "VARCHAR"),
    f("len", Text, Own, "text or varbyte", "INTEGER"),
    f("length", Text, Own, "text or varbyte", "INTEGER"),
    f("lower", Text, DataFusion, "text", "VARCHAR"),
    f("lpad", Text, DataFusion, "text, n [, fill]", "VARCHAR"),
    f("ltrim", Text, DataFusion, "text [, characters]", "VARCHAR"),
    f("octet_length", Text, Own, "text or varbyte", "INTEGER"),
    f("octetindex", Text, Own, "part, text", "INTEGER"),
    f("position", Text, Rewritten, "part IN text", "INTEGER"),
    f("quote_ident", Text, Own, "text", "VARCHAR"),
    f("quote_literal", Text, Own, "text", "VARCHAR"),
    f("regexp_count", Text, Own, "text, pattern [, position [, parameters]]", "INTEGER"),
    f(
        "regexp_instr",
        Text,
        Own,
        "text, pattern [, position [, occurrence [, option [, parameters]]]]",
        "INTEGER",
    ),
    f(
        "regexp_replace",
        Text,
        Own,
        "text, pattern [, replacement [, position [, parameters]]]",
        "VARCHAR",
    ),
    f(
        "regexp_substr",
        Text,
        Own,
        "text, pattern [, position [, occurrence [, parameters]]]",
        "VARCHAR",
    ),
    f("repeat", Text, DataFusion, "text, n", "VARCHAR"),
    f("replace", Text, DataFusion, "text, old, new", "VARCHAR"),
    f("replicate", Text, Rewritten, "text, n", "VARCHAR"),
    f("reverse", Text, DataFusion, "text", "VARCHAR"),
    f("right", Text, DataFusion, "text, n", "VARCHAR"),
    f("rpad", Text, DataFusion, "text, n [, fill]", "VARCHAR"),
    f("rtrim", Text, DataFusion, "text [, characters]", "VARCHAR"),
    f("soundex", Text, Own, "text", "VARCHAR"),
    f("split_part", Text, DataFusion, "text, delimiter, n", "VARCHAR"),
    f("strpos", Text, DataFusion, "text, part", "INTEGER"),
    f("strtol", Text, Own, "text, base", "BIGINT"),
    f("substr", Text, DataFusion, "text, position [, n]", "VARCHAR"),
    f("substring", Text, Rewritten, "text FROM position [FOR n]", "VARCHAR"),
    f("textlen", Text, Own, "text or varbyte", "INTEGER"),
    f("translate", Text, DataFusion, "text, from, to", "VARCHAR"),
    f("trim", Text, DataFusion, "[BOTH, LEADING or TRAILING] [characters FROM] text", "VARCHAR"),
    f("upper", Text, DataFusion, "text", "VARCHAR"),
    f("abs", Math, DataFusion, "number", "type of the argument"),
    f("acos", Math, Own, "number", "DOUBLE PRECISION"),
    f("asin", Math, Own, "number", "DOUBLE PRECISION"),
    f("atan", Math, Own, "number", "DOUBLE PRECISION"),
    f("atan2", Math, Own, "y, x", "DOUBLE PRECISION"),
    f("cbrt", Math, Own, "number", "DOUBLE PRECISION"),
    f("ceil", Math, Own, "number", "type of the argument, without scale"),
    f("ceiling", Math, Rewritten, "number", "type of the argument, without scale"),
    f("cos", Math, Own, "number", "DOUBLE PRECISION"),
    f("cot", Math, Own, "number", "DOUBLE PRECISION"),
    f("degrees", Math, Own, "number", "DOUBLE PRECISION"),
    f("dexp", Math, Rewritten, "number", "DOUBLE PRECISION"),
    f("dlog1", Math, Rewritten, "number", "DOUBLE PRECISION"),
    f("dlog10", Math, Rewritten, "number", "DOUBLE PRECISION"),
    f("exp", Math, Own, "number", "DOUBLE PRECISION"),
    f("floor", Math, Own, "number", "type of the argument, without scale"),
    f("ln", Math, Own, "number", "DOUBLE PRECISION"),
    f("log", Math, Own, "number", "DOUBLE PRECISION"),
    f("mod", Math, Rewritten, "a, b", "common type"),
    f("pi", Math, DataFusion, "", "DOUBLE PRECISION"),
    f("pow", Math, Own, "base, exponent", "DOUBLE PRECISION"),
    f("power", Math, Own, "base, exponent", "DOUBLE PRECISION"),
    f("radians", Math, Own, "number", "DOUBLE PRECISION"),
    f("random", Math, DataFusion, "", "DOUBLE PRECISION"),
    f("round", Math, DataFusion, "number [, places]", "type of the argument"),
    f("sign", Math, Own, "number", "type of the argument, NUMERIC(1, 0) of a NUMERIC"),
    f("sin", Math, Own, "number", "DOUBLE PRECISION"),
    f("sqrt", Math, Own, "number", "DOUBLE PRECISION"),
    f("tan", Math, Own, "number", "DOUBLE PRECISION"),
    f("trunc", Math, Own, "number [, places] or moment", "type of the argument, DATE of a moment"),
    f("cast", Formatting, Rewritten, "x AS type", "the type"),
    f("convert", Formatting, Rewritten, "type, x", "the type"),
    f("to_char", Formatting, Own, "number or moment, template", "VARCHAR"),
    f("to_date", Formatting, Own, "text, template [, is_strict]", "DATE"),
    f("to_number", Formatting, Rewritten, "text, template", "NUMERIC"),
    f("to_timestamp", Formatting, Own, "text, template [, is_strict]", "TIMESTAMPTZ"),
    f("try_cast", Formatting, Rewritten, "x AS type", "the type"),
    f("can_json_parse", Json, Own, "text", "BOOLEAN"),
    f("is_valid_json", Json, Own, "text", "BOOLEAN"),
    f("is_valid_json_array", Json, Own, "text", "BOOLEAN"),
    f("json_array_length", Json, Own, "text [, null_if_invalid]", "INTEGER"),
    f("json_extract_array_element_text", Json, Own, "text, place [, null_if_invalid]", "VARCHAR"),
    f("json_extract_path_text", Json, Own, "text, key [, …] [, null_if_invalid]", "VARCHAR"),
    f("crc32", Hash, Own, "text", "VARCHAR"),
    f("fnv_hash", Hash, Own, "x [, seed]", "BIGINT"),
    f("func_sha1", Hash, Own, "text", "VARCHAR"),
    f("md5", Hash, DataFusion, "text", "VARCHAR"),
    f("murmur3_32_hash", Hash, Own, "x", "INTEGER"),
    f("sha", Hash, Own, "text", "VARCHAR"),
    f("sha1", Hash, Own, "text", "VARCHAR"),
    f("sha2", Hash, Own, "text, bits", "VARCHAR"),
    f("from_hex", Binary, Own, "text", "VARBYTE"),
    f("from_varbyte", Binary, Own, "varbyte, format", "VARCHAR"),
    f("getbit", Binary, Own, "varbyte, n", "INTEGER"),
    f("to_hex", Binary, Own, "varbyte or whole", "VARCHAR"),
    f("to_varbyte", Binary, Own, "text, format", "VARBYTE"),
    f("col_description", System, Leader, "table, column", "VARCHAR"),
    f("current_catalog", System, Leader, "", "NAME"),
    f("current_database", System, Leader, "", "NAME"),
    f("current_schema", System, Leader, "", "NAME"),
    f("current_schemas", System, Leader, "implicit", "NAME[]"),
    f("current_setting", System, Leader, "name [, null_if_missing]", "VARCHAR"),
    f("current_user", System, Leader, "", "NAME"),
    f("current_user_id", System, Leader, "", "INTEGER"),
    f("db_collation", System, Leader, "", "VARCHAR"),
    f("format_encoding", System, Leader, "code", "VARCHAR"),
    f("format_type", System, Leader, "oid, modifier", "VARCHAR"),
    f("has_any_column_privilege", System, Leader, "[user,] table, privilege", "BOOLEAN"),
    f("has_column_privilege", System, Leader, "[user,] table, column, privilege", "BOOLEAN"),
    f("has_database_privilege", System, Leader, "[user,] database, privilege", "BOOLEAN"),
    f("has_function_privilege", System, Leader, "[user,] function, privilege", "BOOLEAN"),
    f("has_language_privilege", System, Leader, "[user,] language, privilege", "BOOLEAN"),
    f("has_schema_privilege", System, Leader, "[user,] schema, privilege", "BOOLEAN"),
    f("has_table_privilege", System, Leader, "[user,] table, privilege", "BOOLEAN"),
    f("obj_description", System, Leader, "oid [, catalog]", "VARCHAR"),
    f("pg_backend_pid", System, Leader, "", "INTEGER"),
    f("pg_cancel_backend", System, Leader, "pid", "BOOLEAN"),
    f("pg_client_encoding", System, Leader, "", "NAME"),
    f("pg_database_size", System, Leader, "database", "BIGINT"),
    f("pg_encoding_to_char", System, Leader, "code", "NAME"),
    f("pg_get_constraintdef", System, Leader, "oid", "VARCHAR"),
    f("pg_get_expr", System, Leader, "expression, oid", "VARCHAR"),
    f("pg_get_indexdef", System, Leader, "oid [, column, pretty]", "VARCHAR"),
    f("pg_get_userbyid", System, Leader, "oid", "NAME"),
    f("pg_get_viewdef", System, Leader, "view", "VARCHAR"),
    f("pg_has_role", System, Leader, "[user,] role, privilege", "BOOLEAN"),
    f("pg_last_copy_count", System, Leader, "", "BIGINT"),
    f("pg_last_copy_id", System, Leader, "", "BIGINT"),
    f("pg_last_query_id", System, Leader, "", "BIGINT"),
    f("pg_last_unload_count", System, Leader, "", "BIGINT"),
    f("pg_last_unload_id", System, Leader, "", "BIGINT"),
    f("pg_relation_size", System, Leader, "table", "BIGINT"),
    f("pg_size_pretty", System, Leader, "bytes", "VARCHAR"),
    f("pg_table_is_visible", System, Leader, "oid", "BOOLEAN"),
    f("pg_table_size", System, Leader, "table", "BIGINT"),
    f("pg_terminate_backend", System, Leader, "pid", "BOOLEAN"),
    f("pg_total_relation_size", System, Leader, "table", "BIGINT"),
    f("session_user", System, Leader, "", "NAME"),
    f("shobj_description", System, Leader, "oid, catalog", "VARCHAR"),
    f("slice_num", System, Leader, "", "INTEGER"),
    f("user", System, Leader, "", "NAME"),
    f("version", System, Leader, "", "VARCHAR"),
];

/// Redshift's functions that are not served: they are refused by name.
pub const NOT_SERVED: &[&str] = &[
    "change_query_priority",
    "change_session_priority",
    "change_user_priority",
    "checksum",
    "collate",
    "current_aws_account",
    "current_namespace",
    "current_session_arn",
    "default_iam_role",
    "explain_model",
    "farmfingerprint64",
    "get_bit",
    "get_byte",
    "has_assumerole_privilege",
    "interval_cmp",
    "pg_get_grantee_by_iam_role",
    "pg_get_iam_role_by_user",
    "reboot_cluster",
    "role_is_member_of",
    "set_bit",
    "set_byte",
    "set_config",
    "text_to_int_alt",
    "text_to_numeric_alt",
    "to_ascii",
    "user_is_member_of",
];

impl Category {
    const ALL: [Category; 11] =
        [Aggregate, Window, Conditional, Date, Text, Math, Formatting, Json, Hash, Binary, System];

    fn title(self) -> &'static str {
        match self {
            Aggregate => "Aggregates",
            Window => "Window functions",
            Conditional => "Conditional expressions",
            Date => "Dates and times",
            Text => "Text",
            Math => "Mathematics",
            Formatting => "Types and formats",
            Json => "JSON in text",
            Hash => "Hashes",
            Binary => "VARBYTE",
            System => "System information and administration",
        }
    }
}

impl Function {
    /// How it is written.
    fn call(&self) -> String {
        let (name, arguments) = (self.name.to_uppercase(), self.arguments);
        if self.name == "at time zone" {
            arguments.to_owned()
        } else if arguments.starts_with('(') {
            format!("{name}{arguments}")
        } else {
            format!("{name}({arguments})")
        }
    }
}

/// The reference page of all functions, in Markdown.
pub fn page() -> String {
    let mut page = String::from(
        "# Functions\n\n\
         Made from the table in `crates/sql/src/functions/catalogue.rs`; a test compares the two.\n\
         Arguments in brackets are optional. Aggregates are also window functions, with OVER.\n",
    );
    for category in Category::ALL {
        page.push_str(&format!("\n## {}\n\n| Function | Result |\n|---|---|\n", category.title()));
        for function in FUNCTIONS.iter().filter(|function| function.category == category) {
            page.push_str(&format!("| `{}` | {} |\n", function.call(), function.result));
        }
    }
    let names = NOT_SERVED.iter().map(|name| format!("- `{}`\n", name.to_uppercase()));
    page.push_str("\n## Not served\n\n");
    page.extend(names);
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Registry;

    #[test]
    fn every_function_is_there() {
        let registry = Registry::shared();
        let elsewhere = |origin| matches!(origin, Rewritten | Leader);
        for name in NOT_SERVED {
            assert!(registry.scalar(name).is_none(), "{name} is there");
        }
        for Function { name, origin, .. } in FUNCTIONS {
            let found = registry.scalar(name).is_some()
                || registry.aggregate(name).is_some()
                || registry.window(name).is_some();
            assert!(found || elsewhere(*origin), "{name} is in no registry");
        }
        let own = crate::extensions();
        for Function { name, .. } in FUNCTIONS.iter().filter(|function| function.origin == Own) {
            let is = |found: &str, aliases: &[String]| {
                found == *name || aliases.iter().any(|alias| alias == name)
            };
            let found = own.scalar.iter().any(|one| is(one.name(), one.aliases()))
                || own.aggregate.iter().any(|one| is(one.name(), one.aliases()));
            assert!(found, "{name} is not ours");
        }
    }

    #[test]
    fn no_function_is_there_twice() {
        let mut names: Vec<_> = FUNCTIONS.iter().map(|function| function.name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }

    /// With the environment variable `UPDATE_PAGES` set, the page is written instead.
    #[test]
    fn the_page_is_what_the_table_gives() {
        // From the folder of the package, in which tests run.
        let path = "../../docs/reference/functions.md";
        if std::env::var_os("UPDATE_PAGES").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == page(), "set UPDATE_PAGES=1 and run this test to write {path}");
    }
}
