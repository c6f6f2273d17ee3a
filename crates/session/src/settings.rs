//! The session's settings: what SET, RESET and SHOW read and write.
//!
//! Owns validation and the canonical form of every value. What a setting *does* lives where it
//! is used; a setting that nothing here can honour is refused rather than stored.

mod table;
mod value;

use std::collections::BTreeMap;

use base::{Result, SqlState, error, suggest};

pub(crate) use table::{Kind, Setting, TABLE};

/// Driver bookkeeping that Redshift's ODBC and JDBC drivers send and nobody reads back.
const DRIVER_NAMES: &[&str] = &[
    "client_domain_name",
    "client_driver_type",
    "client_driver_version",
    "client_host_name",
    "client_ip_address",
    "client_os_name",
    "client_user_name",
    "readonly",
];

/// At most this many names beside the table's, so that a client cannot fill the leader.
const EXTRA_MAX: usize = 256;
/// At most this many bytes in one value.
const VALUE_BYTES_MAX: usize = 16_384;

/// The current values, the values of the session's start and those set by `SET LOCAL`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Settings {
    /// Differences from the table's defaults.
    current: BTreeMap<String, String>,
    /// What RESET goes back to: the start-up parameters and the user's own settings.
    start: BTreeMap<String, String>,
    /// Values to put back when the transaction ends; `None` removes the entry.
    local: BTreeMap<String, Option<String>>,
}

/// A changed parameter that the client wants to hear of.
pub(crate) type Report = Option<(String, String)>;

impl Settings {
    /// The entry of a name, by any of its spellings.
    pub(crate) fn find(name: &str) -> Option<&'static Setting> {
        let folded = canonical(name);
        TABLE.iter().find(|setting| setting.name.eq_ignore_ascii_case(&folded))
    }

    /// The value of a setting, in its canonical form.
    pub(crate) fn get(&self, name: &str) -> String {
        let key = canonical(name);
        if let Some(value) = self.current.get(&key) {
            return value.clone();
        }
        Settings::find(&key).map(|setting| setting.default.to_owned()).unwrap_or_default()
    }

    /// The value for SHOW.
    ///
    /// # Errors
    /// 42704 for a name that is neither in the table nor set before.
    pub(crate) fn show(&self, name: &str) -> Result<String> {
        let key = canonical(name);
        if Settings::find(&key).is_none() && !self.current.contains_key(&key) {
            return Err(unknown(&key));
        }
        Ok(self.get(&key))
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.get(name) == "on"
    }

    pub(crate) fn number(&self, name: &str) -> i64 {
        self.get(name).parse().unwrap_or(0)
    }

    /// The canonical form of a value of a setting, also of one that only the cluster has.
    ///
    /// # Errors
    /// 42704 unknown name, 22023 bad value.
    pub(crate) fn checked(name: &str, value: &str) -> Result<String> {
        let setting = Settings::find(name).ok_or_else(|| unknown(name))?;
        value::checked(setting, value)
    }

    /// `SET name TO value`; `None` is DEFAULT.
    ///
    /// # Errors
    /// 42704 unknown name, 22023 bad value, 55P02 read-only.
    pub(crate) fn set(&mut self, name: &str, value: Option<&str>, local: bool) -> Result<Report> {
        let key = canonical(name);
        let Some(setting) = Settings::find(&key) else {
            self.set_extra(key, value)?;
            return Ok(None);
        };
        if setting.read_only {
            return Err(error!(CantChangeRuntimeParam, "parameter \"{key}\" cannot be changed"));
        }
        let value = match value {
            Some(value) => Some(value::checked(setting, value)?),
            None => self.start.get(&key).cloned(),
        };
        let before = self.get(&key);
        let old = self.current.get(&key).cloned();
        if local {
            self.local.entry(key.clone()).or_insert(old);
        } else {
            self.local.remove(&key);
        }
        match value {
            Some(value) if value != setting.default => {
                self.current.insert(key.clone(), value);
            }
            _ => {
                self.current.remove(&key);
            }
        }
        let after = self.get(&key);
        let told = setting.reported && before != after;
        Ok(told.then(|| (setting.report_name.unwrap_or(setting.name).to_owned(), after)))
    }

    fn set_extra(&mut self, key: String, value: Option<&str>) -> Result<()> {
        // A dotted name is the user's own variable, as in PostgreSQL.
        let custom = key.split_once('.').is_some_and(|(a, b)| !a.is_empty() && !b.is_empty());
        if !custom && !DRIVER_NAMES.contains(&key.as_str()) {
            return Err(unknown(&key));
        }
        let Some(value) = value else {
            self.current.remove(&key);
            return Ok(());
        };
        if value.len() > VALUE_BYTES_MAX {
            return Err(error!(ProgramLimitExceeded, "value of parameter \"{key}\" is too long"));
        }
        let extras = self.current.keys().filter(|name| Settings::find(name).is_none()).count();
        if extras >= EXTRA_MAX && !self.current.contains_key(&key) {
            return Err(error!(
                ConfigurationLimitExceeded,
                "a session cannot hold more than {EXTRA_MAX} custom parameters"
            ));
        }
        self.current.insert(key, value.to_owned());
        Ok(())
    }

    /// Takes a start-up parameter or a user's own setting: it becomes what RESET goes back to.
    ///
    /// # Errors
    /// 22023 for a bad value of a known setting; unknown names are left alone.
    pub(crate) fn start_with(&mut self, name: &str, value: &str) -> Result<()> {
        let key = canonical(name);
        let Some(setting) = Settings::find(&key) else { return Ok(()) };
        if setting.read_only {
            return Ok(());
        }
        let value = value::checked(setting, value)?;
        self.start.insert(key.clone(), value.clone());
        self.current.insert(key, value);
        Ok(())
    }

    /// The value of a setting that the server itself decides, such as `is_superuser`.
    pub(crate) fn decide(&mut self, name: &str, value: &str) {
        self.start.insert(name.to_owned(), value.to_owned());
        self.current.insert(name.to_owned(), value.to_owned());
    }

    /// `RESET ALL`: back to the session's start. Gives the reported parameters that changed.
    pub(crate) fn reset_all(&mut self) -> Vec<(String, String)> {
        let before = self.clone();
        self.current = self.start.clone();
        self.local.clear();
        self.changes(&before)
    }

    /// The end of a transaction: `SET LOCAL` values go.
    pub(crate) fn end_local(&mut self) -> Vec<(String, String)> {
        let before = self.clone();
        for (key, value) in std::mem::take(&mut self.local) {
            match value {
                Some(value) => self.current.insert(key, value),
                None => self.current.remove(&key),
            };
        }
        self.changes(&before)
    }

    /// The reported parameters whose value differs from `before`.
    pub(crate) fn changes(&self, before: &Settings) -> Vec<(String, String)> {
        let reported = TABLE.iter().filter(|setting| setting.reported);
        reported
            .filter(|setting| self.get(setting.name) != before.get(setting.name))
            .map(|setting| {
                let name = setting.report_name.unwrap_or(setting.name);
                (name.to_owned(), self.get(setting.name))
            })
            .collect()
    }

    /// The parameters announced at start-up, in the table's order.
    pub(crate) fn reported(&self) -> Vec<(String, String)> {
        let reported = TABLE.iter().filter(|setting| setting.reported);
        reported
            .map(|setting| {
                let name = setting.report_name.unwrap_or(setting.name);
                (name.to_owned(), self.get(setting.name))
            })
            .collect()
    }

    /// Every setting with its value, for SHOW ALL and pg_settings: the table's, then extras.
    pub(crate) fn all(&self) -> Vec<(String, String)> {
        let mut all: Vec<_> = TABLE.iter().map(|s| (s.name.to_owned(), self.get(s.name))).collect();
        let extra = self.current.iter().filter(|(key, _)| Settings::find(key).is_none());
        all.extend(extra.map(|(key, value)| (key.clone(), value.clone())));
        all
    }

    /// `search_path` as names, `$user` replaced.
    pub(crate) fn search_path(&self, user: &str) -> Vec<String> {
        value::split_path(&self.get("search_path"))
            .into_iter()
            .map(|name| if name == "$user" { user.to_owned() } else { name })
            .collect()
    }

    /// `statement_timeout`; `None` when off.
    pub(crate) fn statement_timeout(&self) -> Option<std::time::Duration> {
        self.duration("statement_timeout")
    }

    /// `lock_timeout`; `None` when off.
    pub(crate) fn lock_timeout(&self) -> Option<std::time::Duration> {
        self.duration("lock_timeout")
    }

    fn duration(&self, name: &str) -> Option<std::time::Duration> {
        let ms = u64::try_from(self.number(name)).unwrap_or(0);
        (ms > 0).then(|| std::time::Duration::from_millis(ms))
    }

    /// How long the session may be idle outside of a block, in milliseconds; 0 for ever.
    pub(crate) fn idle_session_ms(&self) -> u64 {
        let ms = u64::try_from(self.number("idle_session_timeout")).unwrap_or(0);
        let seconds = u64::try_from(self.number("session_timeout")).unwrap_or(0);
        match (ms, seconds.saturating_mul(1_000)) {
            (0, limit) | (limit, 0) => limit,
            (one, other) => one.min(other),
        }
    }

    /// How long the session may be idle within a block, in milliseconds; 0 for ever.
    pub(crate) fn idle_block_ms(&self) -> u64 {
        u64::try_from(self.number("idle_in_transaction_session_timeout")).unwrap_or(0)
    }
}

/// The lower-case name, with the spellings of the SQL standard (`TIME ZONE`, `TRANSACTION
/// ISOLATION LEVEL`, `SESSION AUTHORIZATION`, `NAMES`) replaced by the setting's own.
fn canonical(name: &str) -> String {
    let folded = name.trim().to_ascii_lowercase();
    let words: Vec<&str> = folded.split_whitespace().collect();
    match words.as_slice() {
        ["time", "zone"] => "timezone".to_owned(),
        ["transaction", "isolation", "level"] | ["transaction", "isolation"] => {
            "transaction_isolation".to_owned()
        }
        ["session", "authorization"] => "session_authorization".to_owned(),
        ["names"] => "client_encoding".to_owned(),
        _ => folded,
    }
}

fn unknown(name: &str) -> base::Error {
    let names = TABLE.iter().map(|setting| setting.name);
    base::Error::new(
        SqlState::UndefinedObject,
        format!("unrecognized configuration parameter \"{name}\""),
    )
    .maybe_hint(suggest::did_you_mean(name, names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_show_and_reset() {
        let mut settings = Settings::default();
        assert_eq!(settings.show("server_version").unwrap(), "8.0.2");
        let report = settings.set("TimeZone", Some("Europe/Berlin"), false).unwrap();
        assert_eq!(report, Some(("TimeZone".into(), "Europe/Berlin".into())));
        assert_eq!(settings.show("time zone").unwrap(), "Europe/Berlin");
        settings.set("timezone", None, false).unwrap();
        assert_eq!(settings.get("timezone"), "UTC");
        assert_eq!(settings.reset_all(), vec![]);
    }

    #[test]
    fn names_and_values_are_checked() {
        let mut settings = Settings::default();
        let error = settings.set("statement_timeot", Some("1"), false).unwrap_err();
        assert_eq!(error.sqlstate(), SqlState::UndefinedObject);
        assert_eq!(error.get_hint(), Some("Did you mean \"statement_timeout\"?"));
        let error = settings.set("statement_timeout", Some("abc"), false).unwrap_err();
        assert_eq!(error.sqlstate(), SqlState::InvalidParameterValue);
        let error = settings.set("server_version", Some("9"), false).unwrap_err();
        assert_eq!(error.sqlstate(), SqlState::CantChangeRuntimeParam);
        let error = settings.set("timezone", Some("Mars/Olympus"), false).unwrap_err();
        assert_eq!(error.sqlstate(), SqlState::InvalidParameterValue);
        assert!(settings.set("standard_conforming_strings", Some("on"), false).is_err());
        settings.set("client_host_name", Some("box"), false).unwrap();
        assert_eq!(settings.show("client_host_name").unwrap(), "box");
        settings.set("my.variable", Some("1"), false).unwrap();
    }

    #[test]
    fn units_and_booleans_have_one_form() {
        let mut settings = Settings::default();
        settings.set("statement_timeout", Some("2s"), false).unwrap();
        assert_eq!(settings.get("statement_timeout"), "2000");
        settings.set("enable_case_sensitive_identifier", Some("TRUE"), false).unwrap();
        assert!(settings.flag("enable_case_sensitive_identifier"));
        settings.set("datestyle", Some("iso"), false).unwrap();
        assert_eq!(settings.get("datestyle"), "ISO, MDY");
        settings.set("datestyle", Some("ISO, DMY"), false).unwrap();
        assert_eq!(settings.get("DateStyle"), "ISO, DMY");
        settings.set("search_path", Some("\"$user\", Public, \"Mixed\""), false).unwrap();
        assert_eq!(settings.search_path("ann"), ["ann", "public", "Mixed"]);
    }

    #[test]
    fn local_values_end_with_the_transaction() {
        let mut settings = Settings::default();
        settings.set("query_group", Some("etl"), false).unwrap();
        settings.set("query_group", Some("once"), true).unwrap();
        assert_eq!(settings.get("query_group"), "once");
        settings.end_local();
        assert_eq!(settings.get("query_group"), "etl");
    }

    #[test]
    fn standard_conforming_strings_is_never_announced() {
        let names: Vec<_> = Settings::default().reported();
        assert!(names.iter().all(|(name, _)| name != "standard_conforming_strings"));
        assert!(names.iter().any(|(name, value)| name == "DateStyle" && value == "ISO, MDY"));
    }
}
