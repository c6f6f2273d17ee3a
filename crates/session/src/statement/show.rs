//! SHOW: settings and the metadata commands of Redshift's drivers.
//!
//! The columns are known before anything is bound, because drivers prepare these commands with
//! names and patterns as parameters.

use std::sync::Arc;

use base::client::{BatchStream, Column, Outcome, Value};
use base::{Error, Result, SqlType, error};
use futures::stream;
use sql::ast::{Operand, Show, ShowFilter};

use super::column;
use super::show_objects as objects;
use crate::client::ClientSession;
use crate::system::{Cell, Rows, batch};

/// Rows of the leader as an outcome.
pub(crate) fn rows(columns: Arc<[Column]>, rows: Rows, verb: &'static str) -> Result<Outcome> {
    let declared: Vec<(&str, SqlType)> =
        columns.iter().map(|column| (column.name.as_str(), column.sql_type)).collect();
    let batch = batch(&declared, &rows)?;
    let batches: BatchStream = Box::pin(stream::iter([Ok(batch)]));
    Ok(Outcome::Rows { columns, batches, verb, counted: false })
}

/// The operands of a SHOW with their values.
pub(crate) struct Operands<'a> {
    values: &'a [Value],
}

impl Operands<'_> {
    /// The text of an operand. A parameter is a name as the driver has it, not folded.
    pub(crate) fn text(&self, operand: &Operand) -> Result<Option<String>> {
        match operand {
            Operand::Text(ident) => Ok(Some(ident.name.clone())),
            Operand::Parameter(n) => {
                let value = usize::from(*n).checked_sub(1).and_then(|i| self.values.get(i));
                match value {
                    None => Err(error!(UndefinedParameter, "there is no parameter ${n}")),
                    Some(Value::Null) => Ok(None),
                    Some(Value::Text(text)) => Ok(Some(text.clone())),
                    Some(Value::Int(number)) => Ok(Some(number.to_string())),
                    Some(_) => Err(error!(DatatypeMismatch, "parameter ${n} of SHOW must be text")),
                }
            }
        }
    }

    /// An operand that is a name.
    pub(crate) fn name(&self, operand: &Operand) -> Result<String> {
        self.text(operand)?
            .filter(|name| !name.is_empty())
            .ok_or_else(|| error!(InvalidParameterValue, "a name in SHOW is missing"))
    }

    pub(crate) fn names(&self, operands: &[Operand]) -> Result<Vec<String>> {
        operands.iter().map(|operand| self.name(operand)).collect()
    }

    /// The filter as a test and a limit.
    pub(crate) fn filter(&self, filter: &ShowFilter) -> Result<Filter> {
        let like = filter.like.as_ref().map(|operand| self.text(operand)).transpose()?.flatten();
        let limit = filter.limit.as_ref().map(|operand| self.text(operand)).transpose()?.flatten();
        let limit = limit
            .map(|text| {
                text.parse::<usize>().map_err(|_| {
                    error!(InvalidParameterValue, "LIMIT must be a number, not \"{text}\"")
                })
            })
            .transpose()?;
        Ok(Filter { like, limit: limit.unwrap_or(10_000).min(10_000) })
    }
}

/// LIKE and LIMIT of a SHOW. Redshift gives at most 10,000 rows.
pub(crate) struct Filter {
    like: Option<String>,
    pub(crate) limit: usize,
}

impl Filter {
    pub(crate) fn takes(&self, name: &str) -> bool {
        match &self.like {
            None => true,
            Some(pattern) => {
                let pattern: Vec<char> = pattern.to_lowercase().chars().collect();
                let name: Vec<char> = name.to_lowercase().chars().collect();
                like(&pattern, &name)
            }
        }
    }
}

/// SQL LIKE with `\` as escape, without backtracking over more than one `%`.
fn like(pattern: &[char], text: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        let literal = match pattern.get(p) {
            Some('\\') => pattern.get(p + 1).map(|c| (*c, 2)),
            Some('%' | '_') | None => None,
            Some(c) => Some((*c, 1)),
        };
        match (pattern.get(p), text.get(t)) {
            (None, None) => return true,
            (Some('%'), _) => {
                retry = Some((p + 1, t));
                p += 1;
                continue;
            }
            (Some('_'), Some(_)) => {
                p += 1;
                t += 1;
                continue;
            }
            (_, Some(c)) if literal.is_some_and(|(l, _)| l == *c) => {
                p += literal.map_or(1, |(_, width)| width);
                t += 1;
                continue;
            }
            _ => {}
        }
        match retry {
            Some((after, from)) if from < text.len() => {
                retry = Some((after, from + 1));
                p = after;
                t = from + 1;
            }
            _ => return false,
        }
    }
}

impl ClientSession {
    /// The number of parameters and the columns of a SHOW.
    pub(crate) fn show_columns(&mut self, show: &Show) -> Result<(usize, Arc<[Column]>)> {
        let columns: Vec<Column> = match show {
            Show::All => ["name", "setting", "description"]
                .iter()
                .map(|name| column(name, SqlType::Text))
                .collect(),
            Show::Parameter(name) => {
                let found = crate::settings::Settings::find(&name.name);
                let shown = found
                    .map_or(name.name.as_str(), |found| found.report_name.unwrap_or(found.name));
                vec![column(shown, SqlType::Text)]
            }
            other => {
                let declared = objects::columns(other)?;
                declared.iter().map(|(name, sql_type)| column(name, *sql_type)).collect()
            }
        };
        Ok((objects::parameter_count(show), Arc::from(columns)))
    }

    pub(crate) fn show(&mut self, show: &Show, values: &[Value]) -> Result<Outcome> {
        let (_, columns) = self.show_columns(show)?;
        let context = self.context()?;
        let operands = Operands { values };
        let found: Rows = match show {
            Show::All => {
                let all = self.settings.all().into_iter();
                all.map(|(name, value)| {
                    let about = crate::settings::Settings::find(&name).map(|s| s.about);
                    vec![Cell::Text(name), Cell::Text(value), Cell::from(about)]
                })
                .collect()
            }
            Show::Parameter(name) => {
                let value = if name.name == "transaction_read_only" {
                    if self.work.is_read_only() { "on".to_owned() } else { "off".to_owned() }
                } else {
                    let shown = self.settings.show(&name.name);
                    shown.map_err(|error| crate::relations::at(error, name.position))?
                };
                vec![vec![Cell::Text(value)]]
            }
            other => objects::rows(&context, other, &operands)?,
        };
        rows(columns, found, "SHOW")
    }
}

/// A SHOW that this version does not serve.
pub(crate) fn refused(what: &str) -> Error {
    Error::unsupported(format!("SHOW {what} is not supported"))
}

#[cfg(test)]
mod tests {
    use super::like;

    fn is_like(pattern: &str, text: &str) -> bool {
        like(&pattern.chars().collect::<Vec<_>>(), &text.chars().collect::<Vec<_>>())
    }

    #[test]
    fn patterns_match_as_in_sql() {
        assert!(is_like("%", "") && is_like("a%", "abc") && is_like("%c", "abc"));
        assert!(is_like("a_c", "abc") && !is_like("a_c", "ac"));
        assert!(is_like("%b%d%", "abcde") && !is_like("%b%d", "abcde"));
        assert!(is_like("a\\_c", "a_c") && !is_like("a\\_c", "abc"));
        assert!(!is_like("", "a") && is_like("", ""));
    }
}
