//! The interpreter over a host of a few lines.

use std::sync::Arc;

use async_trait::async_trait;
use base::client::Value;
use base::{Error, Result, SqlState, SqlType, error};

use crate::host::{Fetched, Host, Message, Portal, Ran, Shape, Sql, Typed, Variable};
use crate::run::{Argument, Call, call};
use crate::tree::{Count, TypeName};

/// A host whose expressions are two whole numbers with an operator between; its rows are 1 to 3.
#[derive(Default)]
struct Fake {
    said: Vec<String>,
    rows: i64,
    atomic: bool,
}

fn one(sql: &Sql<'_>, word: &str) -> Result<i64> {
    let word = word.trim_matches(['(', ')']);
    if let Some((record, field)) = word.split_once('.')
        && let Some(Variable::Record(Some(row))) = sql.variables.get(record)
    {
        return number(&row.field(field).unwrap().value);
    }
    let labelled = word.split_once('.').and_then(|(l, name)| sql.variables.labelled(l, name));
    match labelled.or_else(|| sql.variables.get(word)) {
        Some(Variable::Scalar(value)) => number(&value.value),
        _ => word.parse().map_err(|_| error!(UndefinedColumn, "column \"{word}\"").at(1)),
    }
}

fn number(value: &Value) -> Result<i64> {
    match value {
        Value::Int(number) => Ok(*number),
        Value::Bool(on) => Ok(i64::from(*on)),
        other => Err(error!(DatatypeMismatch, "{other:?} is no number")),
    }
}

#[async_trait]
impl Host for Fake {
    async fn shape(&mut self, _: &TypeName) -> Result<Shape> {
        Ok(Shape::Scalar(SqlType::Integer))
    }

    async fn evaluate(&mut self, sql: Sql<'_>) -> Result<Typed> {
        let words: Vec<&str> = sql.text.split_whitespace().collect();
        let flag = |on: bool| Typed::new(SqlType::Boolean, Value::Bool(on));
        Ok(match words.as_slice() {
            [word] => match sql.variables.get(&word.to_lowercase()) {
                Some(Variable::Scalar(value)) => value.clone(),
                _ => Typed::new(SqlType::Integer, Value::Int(one(&sql, word)?)),
            },
            [a, op, b] => {
                let (a, b) = (one(&sql, a)?, one(&sql, b)?);
                match *op {
                    "+" => Typed::new(SqlType::Integer, Value::Int(a + b)),
                    "/" if b == 0 => return Err(error!(DivisionByZero, "division by zero")),
                    "/" => Typed::new(SqlType::Integer, Value::Int(a / b)),
                    ">" => flag(a > b),
                    "=" => flag(a == b),
                    _ => return Err(Error::internal("an operator")),
                }
            }
            _ => return Err(Error::internal("an expression")),
        })
    }

    fn convert(&mut self, value: &Typed, to: SqlType) -> Result<Value> {
        Ok(match (&value.value, to) {
            (Value::Int(number), SqlType::Text) => Value::Text(number.to_string()),
            (other, _) => other.clone(),
        })
    }

    async fn run(&mut self, sql: Sql<'_>, _: Option<u64>) -> Result<Ran> {
        self.said.push(format!("ran {}", sql.text));
        Ok(Ran { count: 2, ..Ran::default() })
    }

    async fn call(&mut self, _: Sql<'_>) -> Result<Vec<(usize, Typed)>> {
        Ok(vec![(1, Typed::new(SqlType::Integer, Value::Int(42)))])
    }

    async fn open(&mut self, portal: Portal<'_>, _: Sql<'_>) -> Result<String> {
        self.rows = 0;
        self.said.push(format!("{portal:?}"));
        Ok("portal".to_owned())
    }

    async fn fetch(&mut self, _: &str) -> Result<Fetched> {
        self.rows += 1;
        let columns = Arc::from(vec![("a".to_owned(), SqlType::Integer)]);
        let values = (self.rows <= 3).then(|| vec![Value::Int(self.rows)]);
        Ok(Fetched { columns, values })
    }

    async fn skip(&mut self, _: &str, _: Count) -> Result<u64> {
        Ok(0)
    }

    fn close(&mut self, _: &str) -> Result<()> {
        self.said.push("close".to_owned());
        Ok(())
    }

    async fn commit(&mut self) -> Result<()> {
        self.said.push("commit".to_owned());
        Ok(())
    }

    async fn roll_back(&mut self) -> Result<()> {
        self.said.push("rollback".to_owned());
        Ok(())
    }

    async fn recover(&mut self) -> Result<()> {
        self.said.push("recover".to_owned());
        Ok(())
    }

    async fn recovered(&mut self) -> Result<bool> {
        Ok(self.atomic)
    }

    fn message(&mut self, message: Message) -> Result<()> {
        self.said.push(message.text.message().to_owned());
        Ok(())
    }

    async fn breathe(&mut self) {}
}

async fn done(host: &mut Fake, body: &str) -> Result<Vec<Typed>> {
    let value = Typed::new(SqlType::Integer, Value::Int(5));
    let names = ["a".to_owned()];
    let body = crate::parse(body, &names).unwrap();
    let arguments = vec![Argument { name: "a".to_owned(), value }];
    call(host, Call { name: "p", signature: "p(integer)", body: &body, arguments }).await
}

async fn said(body: &str) -> Vec<String> {
    let mut host = Fake::default();
    done(&mut host, body).await.unwrap();
    host.said
}

#[tokio::test]
async fn loops_and_labels() {
    let body = "BEGIN <<o>> FOR i IN 1..3 LOOP FOR j IN 1..3 LOOP
        CONTINUE o WHEN j = 2; EXIT o WHEN i = 3; RAISE INFO '% %', i, j;
        END LOOP; END LOOP; END";
    assert_eq!(said(body).await, ["1 1", "2 1"]);
    let body =
        "DECLARE r record; BEGIN FOR r IN SELECT x LOOP RAISE INFO '%', r.a; EXIT WHEN r.a > 1;
        END LOOP; RAISE INFO '%', p.a; END";
    assert!(done(&mut Fake::default(), body).await.is_ok());
    let body = "DECLARE r record; BEGIN FOR r IN SELECT x LOOP RAISE INFO '%', r.a; END LOOP; END";
    assert_eq!(said(body).await, ["Loop", "1", "2", "3", "close"]);
}

#[tokio::test]
async fn values_come_back() {
    let values = done(&mut Fake::default(), "BEGIN a := a + 1; END").await.unwrap();
    assert_eq!(values[0].value, Value::Int(6));
    let body = "DECLARE b int := 1; BEGIN CALL q(a, b); a := b + 0; END";
    let values = done(&mut Fake::default(), body).await.unwrap();
    assert_eq!(values[0].value, Value::Int(42));
    let body = "DECLARE n int; BEGIN INSERT INTO t; GET DIAGNOSTICS n = ROW_COUNT; a := n + 0; END";
    assert_eq!(done(&mut Fake::default(), body).await.unwrap()[0].value, Value::Int(2));
}

#[tokio::test]
async fn errors_tell_the_line() {
    let error = done(&mut Fake::default(), "\nBEGIN\n  a := 1 / 0;\nEND").await.unwrap_err();
    assert_eq!(error.sqlstate(), SqlState::DivisionByZero);
    assert_eq!(error.get_context(), Some("PL/pgSQL procedure \"p(integer)\" line 3 at assignment"));
    let error = done(&mut Fake::default(), "BEGIN a := unknown + 1; END").await.unwrap_err();
    assert_eq!(error.internal_position(), Some(("unknown + 1", 1)));
}

#[tokio::test]
async fn handlers_see_the_error_and_may_pass_it_on() {
    let body = "BEGIN BEGIN a := 1 / 0; EXCEPTION WHEN OTHERS THEN RAISE INFO '%', SQLERRM; END;
        RAISE INFO 'after'; END";
    assert_eq!(said(body).await, ["recover", "division by zero", "after"]);
    let mut host = Fake { atomic: true, ..Fake::default() };
    let error = done(&mut host, body).await.unwrap_err();
    assert_eq!(error.sqlstate(), SqlState::DivisionByZero);
    assert_eq!(host.said, ["recover", "division by zero"]);
    // What an inner handler was for is forgotten when it fails itself.
    let body = "BEGIN BEGIN BEGIN a := 1 / 0; EXCEPTION WHEN OTHERS THEN a := 2 / 0; END;
        EXCEPTION WHEN OTHERS THEN NULL; END; RAISE; END";
    assert_eq!(
        done(&mut Fake::default(), body).await.unwrap_err().sqlstate(),
        SqlState::StackedDiagnosticsAccessedWithoutActiveHandler
    );
    let body = "BEGIN a := 1 / 0; EXCEPTION WHEN OTHERS THEN RAISE; END";
    assert_eq!(
        done(&mut Fake::default(), body).await.unwrap_err().sqlstate(),
        SqlState::DivisionByZero
    );
}
