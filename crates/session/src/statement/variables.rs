//! SET and RESET.

use base::client::{Outcome, Severity};
use base::{Result, error};
use sql::ast::{Reset, Set, SetValue, SetWhat, TransactionModes};

use super::done;
use crate::client::ClientSession;
use crate::transaction::Block;

impl ClientSession {
    pub(crate) fn set(&mut self, set: &Set) -> Result<Outcome> {
        if set.local && self.work.block() != Block::Explicit {
            let warning =
                error!(NoActiveSqlTransaction, "SET LOCAL can only be used in transaction blocks");
            self.notice(Severity::Warning, warning);
        }
        match &set.what {
            SetWhat::Parameter { name, value } => {
                self.set_parameter(&name.name, value, set.local, name.position)?;
            }
            SetWhat::TimeZone(value) => self.set_parameter("timezone", value, set.local, 0)?,
            SetWhat::SessionAuthorization(name) => {
                self.set_session_authorization(name.as_deref())?;
            }
            SetWhat::SessionCharacteristics(modes) => self.set_characteristics(modes)?,
            SetWhat::Transaction(modes) => self.set_transaction(modes)?,
        }
        done("SET")
    }

    fn set_parameter(
        &mut self,
        name: &str,
        value: &SetValue,
        local: bool,
        position: u32,
    ) -> Result<()> {
        let joined = match value {
            SetValue::Default => None,
            SetValue::Values(values) if name.eq_ignore_ascii_case("search_path") => {
                Some(path_text(values))
            }
            SetValue::Values(values) => Some(values.join(", ")),
        };
        let report = self
            .settings
            .set(name, joined.as_deref(), local)
            .map_err(|error| crate::relations::at(error, position))?;
        if name.eq_ignore_ascii_case("transaction_read_only") {
            let read_only = self.settings.flag("transaction_read_only");
            self.work.set_read_only(read_only)?;
        }
        self.report(report.into_iter().collect());
        if name.eq_ignore_ascii_case("wlm_query_slot_count") {
            let notice = error!(
                Warning,
                "wlm_query_slot_count changes nothing: all queries share one queue"
            );
            self.notice(Severity::Notice, notice);
        }
        Ok(())
    }

    fn set_characteristics(&mut self, modes: &TransactionModes) -> Result<()> {
        if let Some(read_only) = modes.read_only {
            let value = if read_only { "on" } else { "off" };
            self.settings.set("default_transaction_read_only", Some(value), false)?;
        }
        Ok(())
    }

    fn set_session_authorization(&mut self, name: Option<&str>) -> Result<()> {
        let state = self.work.state(&self.leader.catalog);
        let login = self.entry.user_oid;
        let user = match name {
            None => login,
            Some(name) => {
                let user = state
                    .user(name)
                    .ok_or_else(|| error!(UndefinedObject, "user \"{name}\" does not exist"))?;
                if user.oid != login && !self.entry.superuser {
                    return Err(error!(
                        InsufficientPrivilege,
                        "permission denied to set session authorization"
                    ));
                }
                user.oid
            }
        };
        self.user = user;
        let before = self.settings.clone();
        if let Some(user) = state.user_by_oid(user) {
            self.settings.decide("session_authorization", &user.name);
            self.settings.decide("is_superuser", if user.superuser { "on" } else { "off" });
        }
        let changes = self.settings.changes(&before);
        self.report(changes);
        Ok(())
    }

    pub(crate) fn reset(&mut self, reset: &Reset) -> Result<Outcome> {
        match reset {
            Reset::All => {
                let changes = self.settings.reset_all();
                self.report(changes);
            }
            Reset::Parameter(name) => {
                self.set_parameter(&name.name, &SetValue::Default, false, name.position)?;
            }
            Reset::SessionAuthorization => self.set_session_authorization(None)?,
        }
        done("RESET")
    }
}

/// The values of SET search_path as one text: each is a name already, but a single string may
/// hold a whole list.
fn path_text(values: &[String]) -> String {
    match values {
        [one] => one.clone(),
        many => {
            let quote = |name: &String| match name.as_str() {
                "$user" => name.clone(),
                other => base::ident::quote(other),
            };
            many.iter().map(quote).collect::<Vec<_>>().join(", ")
        }
    }
}
