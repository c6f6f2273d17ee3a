//! Walks through sqlparser's trees, with one type that stands for all visitors of either kind.

use std::ops::ControlFlow;

use sqlparser::ast::{
    Cte, Expr, ObjectName, Query, Select, SelectItem, TableFactor, TableWithJoins, ValueWithSpan,
    Visit, VisitMut, Visitor, VisitorMut,
};

/// What ended a walk.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Whether a walk goes on.
pub type Walk = Result<(), Failure>;

/// Looks at the nodes of a tree. An error ends the walk.
pub trait Reader {
    /// # Errors
    /// Those of the reader.
    fn relation(&mut self, _: &ObjectName) -> Walk {
        Ok(())
    }

    /// An expression, before those within it.
    ///
    /// # Errors
    /// Those of the reader.
    fn expr(&mut self, _: &Expr) -> Walk {
        Ok(())
    }

    /// # Errors
    /// Those of the reader.
    fn value(&mut self, _: &ValueWithSpan) -> Walk {
        Ok(())
    }
}

/// Changes the nodes of a tree. An error ends the walk.
pub trait Editor {
    /// A query, before what is within it.
    ///
    /// # Errors
    /// Those of the editor.
    fn query(&mut self, _: &mut Query) -> Walk {
        Ok(())
    }

    /// A query, after what is within it.
    ///
    /// # Errors
    /// Those of the editor.
    fn after_query(&mut self, _: &mut Query) -> Walk {
        Ok(())
    }

    /// A SELECT, before what is within it.
    ///
    /// # Errors
    /// Those of the editor.
    fn select(&mut self, _: &mut Select) -> Walk {
        Ok(())
    }

    /// A table, view, subquery or function in FROM, before what is within it.
    ///
    /// # Errors
    /// Those of the editor.
    fn table_factor(&mut self, _: &mut TableFactor) -> Walk {
        Ok(())
    }

    /// An expression, before those within it.
    ///
    /// # Errors
    /// Those of the editor.
    fn expr(&mut self, _: &mut Expr) -> Walk {
        Ok(())
    }

    /// An expression, after those within it.
    ///
    /// # Errors
    /// Those of the editor.
    fn after_expr(&mut self, _: &mut Expr) -> Walk {
        Ok(())
    }
}

/// A tree that can be walked through.
pub trait Tree {
    /// Shows every node to a reader.
    ///
    /// # Errors
    /// Those of the reader.
    fn read(&self, reader: &mut dyn Reader) -> Walk;

    /// Lets an editor change every node.
    ///
    /// # Errors
    /// Those of the editor.
    fn edit(&mut self, editor: &mut dyn Editor) -> Walk;
}

macro_rules! trees {
    ($($tree:ty)*) => { $(
        impl Tree for $tree {
            fn read(&self, reader: &mut dyn Reader) -> Walk {
                result(self.visit(&mut Reading(reader)))
            }

            fn edit(&mut self, editor: &mut dyn Editor) -> Walk {
                result(self.visit(&mut Editing(editor)))
            }
        }
    )* };
}

trees! { Query Expr SelectItem TableFactor TableWithJoins Cte }

struct Reading<'r>(&'r mut dyn Reader);

impl Visitor for Reading<'_> {
    type Break = Failure;

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<Failure> {
        flow(self.0.relation(relation))
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Failure> {
        flow(self.0.expr(expr))
    }

    fn pre_visit_value(&mut self, value: &ValueWithSpan) -> ControlFlow<Failure> {
        flow(self.0.value(value))
    }
}

struct Editing<'e>(&'e mut dyn Editor);

impl VisitorMut for Editing<'_> {
    type Break = Failure;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Failure> {
        flow(self.0.query(query))
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Failure> {
        flow(self.0.after_query(query))
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Failure> {
        flow(self.0.select(select))
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Failure> {
        flow(self.0.table_factor(factor))
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Failure> {
        flow(self.0.expr(expr))
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Failure> {
        flow(self.0.after_expr(expr))
    }
}

fn flow(result: Walk) -> ControlFlow<Failure> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    }
}

fn result(flow: ControlFlow<Failure>) -> Walk {
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}
