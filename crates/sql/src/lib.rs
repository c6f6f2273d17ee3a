//! Redshift's SQL: text to trees, trees to bound plans.
//!
//! Owns the dialect, the statement tree, binding against a catalog through [`Relations`], the
//! mapping of SQL types, and the functions that leader and compute nodes share. Knows nothing of
//! sessions, storage or where a plan runs; it reads no catalog by itself.

pub mod ast;
mod bind;
pub mod dialect;
mod errors;
pub mod functions;
pub mod guard;
mod parse;
mod relations;
mod text;
mod variables;

pub use ast::Statement;
pub use bind::{
    Binder, BinderOptions, Bound, BoundChange, BoundInsert, ChangeShape, InsertTarget, Repeats,
    function_body, inlined,
};
pub use errors::error_from_datafusion;
pub use functions::moment::Moment;
pub use functions::{Extensions, Registry, extensions};
pub use parse::{parse, parse_expression, parse_query};
pub use relations::{
    At, InlineFunction, RelationUse, Relations, ResolvedRelation, ResolvedTable, ResolvedTarget,
    ResolvedView,
};
pub use text::{Source, TEXT_BYTES_MAX, split};
pub use variables::{Constant, Variables, put_variables};
