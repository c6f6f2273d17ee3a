//! The simple protocol: a string of statements, run and answered one by one.

use base::client::Outcome;
use base::error;

use crate::connection::Connection;
use crate::describe;
use crate::encode::Format;
use crate::frame::backend;
use crate::handshake::Stop;
use crate::portal::{Cursor, tag};
use crate::statement::{Fault, caught};

impl Connection {
    pub(crate) async fn query(&mut self, text: &str) -> Result<(), Stop> {
        // As in PostgreSQL, a simple query takes the place of what has no name.
        self.statements.remove("");
        self.portals.remove("");
        match self.statements_of(text).await {
            Ok(()) => self.ready().await,
            Err(Fault::Connection(stop)) => Err(stop),
            Err(Fault::Statement(fault)) => {
                self.fail(&fault);
                self.end_cycle(true).await
            }
        }
    }

    async fn statements_of(&mut self, text: &str) -> Result<(), Fault> {
        let statements = caught(|| self.session.split(text))?;
        if statements.is_empty() {
            self.ends.guard(self.session.sync(false)).await?;
            backend::bare(&mut self.out.buffer, b'I');
            return Ok(());
        }
        let last = statements.len() - 1;
        for (index, (statement, offset)) in statements.iter().enumerate() {
            let done = self.statement(statement, index == last).await;
            done.map_err(|fault| shifted(fault, *offset))?;
        }
        Ok(())
    }

    /// Runs one statement. The last one's tag is sent only when the implicit transaction has
    /// ended well: a client takes the tag for the promise that the work is kept.
    async fn statement(&mut self, text: &str, last: bool) -> Result<(), Fault> {
        let prepared = self.prepare(text, &[]).await?;
        if !prepared.parameters.is_empty() {
            return Err(error!(UndefinedParameter, "there is no parameter $1").into());
        }
        let tag = match self.execute(&prepared, Vec::new()).await? {
            Outcome::Empty => None,
            Outcome::Done { tag } => Some(tag),
            Outcome::Rows { columns, batches, verb, counted } => {
                let formats = vec![Format::Text; columns.len()];
                let extension = self.style.extension;
                describe::rows(&mut self.out.buffer, &columns, &formats, extension);
                let mut cursor = Cursor { columns, formats, batches, rows: None, verb, counted };
                let sent = self.send_rows(&mut cursor, 0).await?;
                self.take_events();
                Some(tag(verb, counted, sent.rows))
            }
        };
        if last {
            self.ends.guard(self.session.sync(false)).await?;
            self.take_events();
        }
        match tag {
            Some(tag) => backend::command_complete(&mut self.out.buffer, &tag),
            None => backend::bare(&mut self.out.buffer, b'I'),
        }
        Ok(())
    }
}

/// Moves a position from one statement to the text it was cut from.
fn shifted(fault: Fault, offset: u32) -> Fault {
    match fault {
        Fault::Statement(error) => match error.position() {
            Some(position) => Fault::Statement(error.at(position.saturating_add(offset))),
            None => Fault::Statement(error),
        },
        connection => connection,
    }
}
