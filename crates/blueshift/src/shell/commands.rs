//! Backslash commands. Each is either a setting of the shell or a query.

use base::ident;

use super::render::{Format, Settings};

/// What a backslash command asks for.
pub(crate) enum Action {
    Quit,
    Say(String),
    /// Statements to run and print, in order.
    Query(Vec<String>),
    Connect(String),
    /// A script file to run.
    Include(String),
}

const HELP: &str = "\
\\d [NAME]       tables and views, or one table's columns
\\dt \\dv \\dn    tables, views, schemas
\\du \\l         users, databases
\\c DATABASE    connect to another database
\\x             one line per column on and off
\\timing        print how long each statement took
\\format NAME   table, csv, json
\\i FILE        run a file
\\q             quit
Statements end with a semicolon. Ctrl-C cancels a running one.";

/// Reads a command line that begins with a backslash.
pub(crate) fn parse(line: &str, settings: &mut Settings) -> Action {
    let mut words = line.trim_end_matches(';').split_whitespace();
    let name = words.next().unwrap_or_default();
    let argument = words.next();
    match (name, argument) {
        ("\\q" | "\\quit", _) => Action::Quit,
        ("\\?" | "\\h" | "\\help", _) => Action::Say(HELP.to_owned()),
        ("\\x", _) => {
            settings.expanded = !settings.expanded;
            Action::Say(format!("Expanded display is {}.", on_off(settings.expanded)))
        }
        ("\\timing", _) => {
            settings.timing = !settings.timing;
            Action::Say(format!("Timing is {}.", on_off(settings.timing)))
        }
        ("\\format", Some(word)) => match Format::named(word) {
            Some(format) => {
                settings.format = format;
                Action::Say(format!("Output format is {word}."))
            }
            None => unknown_format(word),
        },
        ("\\format", None) => unknown_format(""),
        ("\\c" | "\\connect", Some(database)) => Action::Connect(database.to_owned()),
        ("\\i", Some(file)) => Action::Include(file.to_owned()),
        ("\\d", Some(relation)) => Action::Query(describe(relation)),
        ("\\d", None) => Action::Query(vec![relations("'r','v'")]),
        ("\\dt", _) => Action::Query(vec![relations("'r'")]),
        ("\\dv", _) => Action::Query(vec![relations("'v'")]),
        ("\\dn", _) => Action::Query(vec![
            "SELECT nspname AS name, pg_get_userbyid(nspowner) AS owner FROM pg_namespace \
             ORDER BY 1"
                .to_owned(),
        ]),
        ("\\du", _) => Action::Query(vec![
            "SELECT usename AS name, usesuper AS superuser, usecreatedb AS create_database \
             FROM pg_user ORDER BY 1"
                .to_owned(),
        ]),
        ("\\l", _) => Action::Query(vec![
            "SELECT datname AS name, pg_get_userbyid(datdba) AS owner FROM pg_database ORDER BY 1"
                .to_owned(),
        ]),
        _ => Action::Say(format!(
            "There is no command {name}{}. Type \\? for help.",
            if argument.is_none() { " without an argument" } else { "" }
        )),
    }
}

fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

fn unknown_format(word: &str) -> Action {
    Action::Say(format!("There is no output format \"{word}\"; choose table, csv or json."))
}

fn relations(kinds: &str) -> String {
    format!(
        "SELECT n.nspname AS schema, c.relname AS name, \
         CASE c.relkind WHEN 'r' THEN 'table' ELSE 'view' END AS type, \
         pg_get_userbyid(c.relowner) AS owner \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ({kinds}) \
         AND n.nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2"
    )
}

fn describe(relation: &str) -> Vec<String> {
    let (schema, name) = match relation.split_once('.') {
        Some((schema, name)) => (Some(schema), name),
        None => (None, relation),
    };
    let schema = schema.map_or_else(
        || "current_schema()".to_owned(),
        |schema| ident::literal(&ident::fold(schema)),
    );
    let name = ident::literal(&ident::fold(name));
    vec![format!(
        "SELECT \"column\", type, encoding, distkey, sortkey, \"notnull\" FROM pg_table_def \
         WHERE schemaname = {schema} AND tablename = {name}"
    )]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_change_and_unknown_commands_say_so() {
        let mut settings = Settings::new(Format::Table);
        assert!(matches!(parse("\\x", &mut settings), Action::Say(_)) && settings.expanded);
        assert!(matches!(parse("\\format csv", &mut settings), Action::Say(_)));
        assert_eq!(settings.format, Format::Csv);
        assert!(matches!(parse("\\q", &mut settings), Action::Quit));
        let Action::Query(texts) = parse("\\d Public.It's", &mut settings) else {
            panic!("not a query");
        };
        assert!(texts[0].contains("'public'") && texts[0].contains("'it''s'"));
        assert!(matches!(parse("\\nope", &mut settings), Action::Say(_)));
    }
}
