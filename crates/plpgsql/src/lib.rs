//! Floor 1: PL/pgSQL, as Redshift's stored procedures speak it.
//!
//! Owns the language: its tokens, its grammar with the place of every statement, the values of
//! variables and the order in which statements run. It knows neither SQL nor plans: what is SQL
//! goes as text, with the values of the variables that it may name, to a [`Host`].

mod host;
mod lexer;
mod parser;
mod run;
pub mod tree;

pub use host::{
    Columns, Fetched, Host, Level, Message, Portal, Ran, Row, Shape, Sql, Typed, Variable,
    Variables,
};
pub use parser::parse;
pub use run::{Argument, Call, call};
