//! The extended protocol: prepared statements and portals.
//!
//! After a fault everything up to the next Sync is passed over.

use std::sync::Arc;

use base::client::{Outcome, Value};
use base::{Error, error, fail};

use crate::connection::Connection;
use crate::describe;
use crate::encode::Format;
use crate::frame::{Bind, Frontend, Target, backend};
use crate::handshake::Stop;
use crate::parameters;
use crate::portal::{Cursor, Parsed, Portal, State, formats, tag};
use crate::statement::Fault;

/// The most prepared statements, and the most portals, of one connection.
const NAMES_MAX: usize = 10_000;

impl Connection {
    pub(crate) async fn extended(&mut self, message: Frontend) -> Result<(), Stop> {
        let done = match message {
            Frontend::Parse { name, text, oids } => self.parse(name, &text, oids).await,
            Frontend::Bind(bind) => self.bind(bind),
            Frontend::Describe { target, name } => self.describe(target, &name).await,
            Frontend::Execute { portal, max_rows } => self.run_portal(&portal, max_rows).await,
            Frontend::Close { target, name } => {
                self.close(target, &name);
                Ok(())
            }
            _ => Ok(()),
        };
        match done {
            Ok(()) => {
                if self.out.is_full() {
                    self.flush().await?;
                }
                Ok(())
            }
            Err(Fault::Connection(stop)) => Err(stop),
            Err(Fault::Statement(fault)) => {
                self.fail_until_sync(&fault);
                Ok(())
            }
        }
    }

    async fn parse(&mut self, name: String, text: &str, oids: Vec<u32>) -> Result<(), Fault> {
        if name.is_empty() {
            self.statements.remove("");
        } else if self.statements.contains_key(&name) {
            let fault =
                error!(DuplicatePreparedStatement, "prepared statement \"{name}\" already exists");
            return Err(fault.into());
        }
        room(self.statements.len(), "prepared statements")?;
        let prepared = self.prepare(text, &oids).await?;
        self.statements.insert(name, Arc::new(Parsed { prepared, oids }));
        backend::bare(&mut self.out.buffer, b'1');
        Ok(())
    }

    fn bind(&mut self, bind: Bind) -> Result<(), Fault> {
        let parsed = Arc::clone(self.parsed(&bind.statement)?);
        if bind.portal.is_empty() {
            self.portals.remove("");
        } else if self.portals.contains_key(&bind.portal) {
            return Err(error!(DuplicateCursor, "portal \"{}\" already exists", bind.portal).into());
        }
        room(self.portals.len(), "portals")?;
        let values = values(&parsed, &bind)?;
        if let Some(columns) = &parsed.prepared.columns {
            formats(&bind.result_formats, columns.len())?;
        }
        let portal = Portal { parsed, formats: bind.result_formats, state: State::Bound(values) };
        self.portals.insert(bind.portal, portal);
        backend::bare(&mut self.out.buffer, b'2');
        Ok(())
    }

    fn parsed(&self, name: &str) -> Result<&Arc<Parsed>, Error> {
        self.statements.get(name).ok_or_else(|| {
            if name.is_empty() {
                error!(InvalidSqlStatementName, "unnamed prepared statement does not exist")
            } else {
                error!(InvalidSqlStatementName, "prepared statement \"{name}\" does not exist")
            }
        })
    }

    async fn describe(&mut self, target: Target, name: &str) -> Result<(), Fault> {
        let (parsed, codes) = match target {
            Target::Statement => {
                let parsed = Arc::clone(self.parsed(name)?);
                let types = &parsed.prepared.parameters;
                describe::parameters(&mut self.out.buffer, types, &parsed.oids);
                (parsed, Vec::new())
            }
            Target::Portal => match self.portals.get(name) {
                Some(portal) => (Arc::clone(&portal.parsed), portal.formats.clone()),
                None => return self.describe_cursor(name).await,
            },
        };
        match &parsed.prepared.columns {
            Some(columns) => {
                let formats = formats(&codes, columns.len())?;
                describe::rows(&mut self.out.buffer, columns, &formats, self.style.extension);
            }
            None => backend::bare(&mut self.out.buffer, b'n'),
        }
        Ok(())
    }

    /// A cursor that DECLARE made is a portal to clients: psycopg describes its named cursors.
    async fn describe_cursor(&mut self, name: &str) -> Result<(), Fault> {
        let text = format!("FETCH FORWARD 0 FROM {}", base::ident::quote(name));
        let prepared = self.session.prepare(&text, &[]).await.map_err(|_| no_portal(name))?;
        let columns = prepared.columns.ok_or_else(|| no_portal(name))?;
        let formats = formats(&[], columns.len())?;
        describe::rows(&mut self.out.buffer, &columns, &formats, self.style.extension);
        Ok(())
    }

    async fn run_portal(&mut self, name: &str, max_rows: i32) -> Result<(), Fault> {
        let portal = self.portals.get_mut(name).ok_or_else(|| no_portal(name))?;
        let parsed = Arc::clone(&portal.parsed);
        let state = std::mem::replace(&mut portal.state, State::Spent);
        let codes = portal.formats.clone();
        let mut cursor = match state {
            State::Open(cursor) => cursor,
            State::Bound(values) => match self.begin(&parsed, values, &codes).await? {
                Some(cursor) => cursor,
                None => return Ok(()),
            },
            State::Finished { verb, counted } => {
                backend::command_complete(&mut self.out.buffer, &tag(verb, counted, 0));
                self.keep(name, State::Finished { verb, counted });
                return Ok(());
            }
            State::Spent => {
                return Err(error!(
                    ObjectNotInPrerequisiteState,
                    "portal \"{name}\" cannot be run"
                )
                .into());
            }
        };
        let rows_max = u64::try_from(max_rows).unwrap_or(0);
        let sent = self.send_rows(&mut cursor, rows_max).await?;
        self.take_events();
        if sent.finished {
            let (verb, counted) = (cursor.verb, cursor.counted);
            backend::command_complete(&mut self.out.buffer, &tag(verb, counted, sent.rows));
            self.keep(name, State::Finished { verb, counted });
        } else {
            backend::bare(&mut self.out.buffer, b's');
            self.keep(name, State::Open(cursor));
        }
        Ok(())
    }

    /// Starts a statement; `None` when it has no rows and was answered.
    async fn begin(
        &mut self,
        parsed: &Parsed,
        values: Vec<Value>,
        codes: &[i16],
    ) -> Result<Option<Cursor>, Fault> {
        match self.execute(&parsed.prepared, values).await? {
            Outcome::Empty => backend::bare(&mut self.out.buffer, b'I'),
            Outcome::Done { tag } => backend::command_complete(&mut self.out.buffer, &tag),
            Outcome::Rows { columns, batches, verb, counted } => {
                if let Some(promised) = &parsed.prepared.columns
                    && !alike(promised, &columns)
                {
                    return Err(error!(
                        FeatureNotSupported,
                        "cached plan must not change result type"
                    )
                    .into());
                }
                let formats = formats(codes, columns.len())?;
                return Ok(Some(Cursor { columns, formats, batches, rows: None, verb, counted }));
            }
        }
        Ok(None)
    }

    fn keep(&mut self, name: &str, state: State) {
        if let Some(portal) = self.portals.get_mut(name) {
            portal.state = state;
        }
    }

    /// Closing what does not exist is no fault.
    fn close(&mut self, target: Target, name: &str) {
        match target {
            Target::Statement => drop(self.statements.remove(name)),
            Target::Portal => drop(self.portals.remove(name)),
        }
        backend::bare(&mut self.out.buffer, b'3');
    }
}

fn values(parsed: &Parsed, bind: &Bind) -> Result<Vec<Value>, Error> {
    let types = &parsed.prepared.parameters;
    let (given, wanted) = (bind.values.len(), types.len());
    if given != wanted {
        fail!(
            ProtocolViolation,
            "bind message supplies {given} parameters, but prepared statement \"{}\" requires \
             {wanted}",
            bind.statement
        );
    }
    let codes = &bind.formats;
    if codes.len() > 1 && codes.len() != given {
        fail!(
            ProtocolViolation,
            "bind message has {} parameter formats but {given} parameters",
            codes.len()
        );
    }
    let decode = |(index, bytes): (usize, &Option<bytes::Bytes>)| {
        let code = if codes.len() > 1 { codes.get(index) } else { codes.first() };
        let format = code.map_or(Format::Text, |code| Format::of(*code));
        let oid = describe::parameter_oid(types, &parsed.oids, index);
        parameters::decode(oid, format, bytes.clone())
    };
    bind.values.iter().enumerate().map(decode).collect()
}

fn alike(promised: &[base::client::Column], got: &[base::client::Column]) -> bool {
    promised.len() == got.len()
        && promised.iter().zip(got).all(|(a, b)| a.sql_type.oid() == b.sql_type.oid())
}

fn no_portal(name: &str) -> Error {
    error!(InvalidCursorName, "portal \"{name}\" does not exist")
}

fn room(have: usize, what: &str) -> Result<(), Error> {
    if have >= NAMES_MAX {
        fail!(ProgramLimitExceeded, "a connection can have at most {NAMES_MAX} {what}");
    }
    Ok(())
}
