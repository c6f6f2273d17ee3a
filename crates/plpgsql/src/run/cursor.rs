//! Cursors and loops over rows. A loop reads through a cursor of its own.

use base::client::Value;
use base::{Error, Result, SqlState, SqlType, error};

use super::frame::{BoundCursor, Slot};
use super::{Flow, Run};
use crate::host::{Fetched, Portal, Row, Sql, Typed, Variables};
use crate::tree::{Count, Fragment, Into, RowSource, Statement, Target};

impl Run<'_> {
    pub(super) fn cursor_name(&self, cursor: &Target) -> Result<String> {
        match self.frames.scalar(&cursor.name).map(|value| &value.value) {
            Some(Value::Text(name)) => Ok(name.clone()),
            _ => Err(error!(NullValueNotAllowed, "cursor variable \"{}\" is null", cursor.name)
                .hint("Open it first.")),
        }
    }

    pub(super) async fn open(
        &mut self,
        cursor: &Target,
        arguments: &[Fragment],
        query: Option<&RowSource>,
    ) -> Result<()> {
        let wanted = self.cursor_name(cursor).ok();
        let portal = wanted.as_deref().map_or(Portal::Unnamed, Portal::Named);
        let name = match query {
            Some(source) => self.open_rows(portal, source).await?,
            None => {
                let source =
                    RowSource::Cursor { name: cursor.name.clone(), arguments: arguments.to_vec() };
                self.open_rows(portal, &source).await?
            }
        };
        if wanted.is_none() {
            let name = Typed::new(SqlType::Text, Value::Text(name));
            self.store_scalar(&cursor.name, &name)?;
        }
        Ok(())
    }

    async fn open_rows(&mut self, portal: Portal<'_>, source: &RowSource) -> Result<String> {
        match source {
            RowSource::Query(query) => {
                let variables = Variables(&self.frames);
                let sql = Sql { text: &query.text, variables, using: None };
                self.host.open(portal, sql).await.map_err(|error| error.within(&query.text))
            }
            RowSource::Execute { query, using } => {
                let (text, values) = self.dynamic(query, using).await?;
                let variables = Variables(&self.frames);
                let sql = Sql { text: &text, variables, using: Some(&values) };
                self.host.open(portal, sql).await.map_err(|error| error.within(&text))
            }
            RowSource::Cursor { name: cursor, arguments } => {
                let bound = self.frames.find(cursor).and_then(|slot| slot.cursor.clone());
                let Some(bound) = bound else {
                    return Err(error!(InvalidCursorName, "cursor \"{cursor}\" has no query"));
                };
                self.open_bound(portal, cursor, &bound, arguments).await
            }
        }
    }

    async fn open_bound(
        &mut self,
        portal: Portal<'_>,
        cursor: &str,
        bound: &BoundCursor,
        arguments: &[Fragment],
    ) -> Result<String> {
        if arguments.len() != bound.arguments.len() {
            let few =
                if arguments.len() < bound.arguments.len() { "not enough" } else { "too many" };
            return Err(error!(SyntaxError, "{few} arguments for cursor \"{cursor}\""));
        }
        let mut slots = Vec::with_capacity(arguments.len());
        for ((argument, type_name), value) in bound.arguments.iter().zip(arguments) {
            let value = self.value(value).await?;
            let shape = self.shape(type_name).await?;
            slots.push((argument, Slot::of(shape.as_ref()), value));
        }
        self.frames.push(Some(cursor));
        for (argument, slot, value) in slots {
            self.frames.declare(argument, slot);
            self.store_scalar(argument, &value)?;
        }
        let sql = Sql { text: &bound.query.text, variables: Variables(&self.frames), using: None };
        let opened = self.host.open(portal, sql).await;
        self.frames.pop();
        opened.map_err(|error| error.within(&bound.query.text))
    }

    pub(super) async fn fetch(&mut self, cursor: &Target, into: &Into) -> Result<()> {
        let name = self.cursor_name(cursor)?;
        let Fetched { columns, values } = self.host.fetch(&name).await?;
        let found = values.is_some();
        let row = match values {
            Some(values) => Row { columns, values },
            None => Row::nulls(columns),
        };
        self.rows = u64::from(found);
        self.set_found(found);
        self.store_into(&into.targets, &row)
    }

    pub(super) async fn skip(&mut self, cursor: &Target, count: Count) -> Result<()> {
        let name = self.cursor_name(cursor)?;
        let skipped = self.host.skip(&name, count).await?;
        self.rows = skipped;
        self.set_found(skipped > 0);
        Ok(())
    }

    pub(super) async fn for_rows(
        &mut self,
        label: Option<&String>,
        targets: &[Target],
        source: &RowSource,
        body: &[Statement],
    ) -> Result<Flow> {
        let own = match source {
            RowSource::Cursor { name, .. } => {
                Some(self.cursor_name(&Target { name: name.clone(), field: None, position: 0 })?)
            }
            _ => None,
        };
        let portal = own.as_deref().map_or(Portal::Loop, Portal::Named);
        let cursor = self.open_rows(portal, source).await?;
        let depth = self.frames.depth();
        if let (RowSource::Cursor { .. }, [record]) = (source, targets) {
            self.frames.push(label.map(String::as_str));
            self.frames.declare(&record.name, Slot::of(None));
        }
        let done = self.rows_of(&cursor, label, targets, body).await;
        if done.is_ok() {
            self.frames.cut(depth);
        }
        let closed = self.host.close(&cursor);
        let flow = done?;
        match closed {
            // ROLLBACK in the body has closed it.
            Err(error) if error.sqlstate() == SqlState::InvalidCursorName => Ok(flow),
            Err(error) => Err(error),
            Ok(()) => Ok(flow),
        }
    }

    async fn rows_of(
        &mut self,
        cursor: &str,
        label: Option<&String>,
        targets: &[Target],
        body: &[Statement],
    ) -> Result<Flow, Error> {
        let mut count = 0u64;
        let mut left = Flow::Next;
        loop {
            let Fetched { columns, values } = self.host.fetch(cursor).await?;
            let Some(values) = values else {
                if count == 0 {
                    self.store_into(targets, &Row::nulls(columns))?;
                }
                break;
            };
            count += 1;
            self.store_into(targets, &Row { columns, values })?;
            if let Some(flow) = self.goes_on(label, body).await? {
                left = flow;
                break;
            }
        }
        self.rows = count;
        self.set_found(count > 0);
        Ok(left)
    }
}
