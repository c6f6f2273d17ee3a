//! The rules for passwords, and how failed logins are slowed down.
//!
//! Verifiers themselves are made by `base::password`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use base::password::Verifiers;
use base::{Result, Secret, error};
use parking_lot::Mutex;

/// The verifiers of a `PASSWORD` clause, after Redshift's rules for plain passwords.
///
/// # Errors
/// 22023 for a plain password that breaks the rules, or a malformed hash.
pub(crate) fn from_clause(user: &str, password: &Secret) -> Result<Verifiers> {
    let text = password.reveal();
    let hashed = |rest: &str| rest.contains('|');
    let plain = match text.strip_prefix("sha256|") {
        Some(rest) if hashed(rest) => None,
        Some(rest) => Some(rest),
        None if text.starts_with("md5") && text.len() == 35 => None,
        None => Some(text),
    };
    if let Some(plain) = plain {
        check_rules(plain)?;
    }
    base::password::parse(user, password)
}

fn check_rules(password: &str) -> Result<()> {
    let bad = |rule: &str| {
        Err(error!(InvalidParameterValue, "password does not meet the rules").detail(rule))
    };
    let has = |test: fn(char) -> bool| password.chars().any(test);
    if !(8..=64).contains(&password.chars().count())
        || !has(|c| c.is_ascii_uppercase())
        || !has(|c| c.is_ascii_lowercase())
        || !has(|c| c.is_ascii_digit())
    {
        return bad(
            "A password has 8 to 64 characters, among them an uppercase letter, a lowercase \
             letter and a digit.",
        );
    }
    if has(|c| !('!'..='~').contains(&c) || "'\"\\/@".contains(c)) {
        return bad("A password consists of printable ASCII characters without quotation marks, \
             backslash, slash, @ and space.");
    }
    Ok(())
}

/// Counts failed logins by user and address and says how long the next try has to wait.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    failures: Mutex<HashMap<Caller, (u32, Instant)>>,
}

/// A user's name and the address that the login came from.
type Caller = (String, Option<IpAddr>);

impl Throttle {
    const ENTRIES_MAX: usize = 10_000;
    const FORGET_AFTER: Duration = Duration::from_secs(300);
    /// Tries that are not slowed down.
    const FREE: u32 = 5;
    const DELAY_MAX: Duration = Duration::from_secs(5);

    pub(crate) fn failed(&self, user: &str, address: Option<IpAddr>) {
        let mut failures = self.failures.lock();
        let now = base::clock::instant();
        if failures.len() >= Self::ENTRIES_MAX {
            failures.retain(|_, (_, last)| now.duration_since(*last) < Self::FORGET_AFTER);
        }
        if failures.len() >= Self::ENTRIES_MAX {
            // An attacker with many addresses must not fill memory: start over.
            failures.clear();
        }
        let entry = failures.entry((user.to_owned(), address)).or_insert((0, now));
        *entry = (entry.0.saturating_add(1), now);
    }

    pub(crate) fn succeeded(&self, user: &str, address: Option<IpAddr>) {
        self.failures.lock().remove(&(user.to_owned(), address));
    }

    /// How long a verifier for `user` is held back: the worst of its addresses, since the
    /// address is not known yet when the verifier is asked for.
    pub(crate) fn delay(&self, user: &str) -> Duration {
        let now = base::clock::instant();
        let failures = self.failures.lock();
        let recent = failures
            .iter()
            .filter(|((name, _), (_, last))| {
                name == user && now.duration_since(*last) < Self::FORGET_AFTER
            })
            .map(|(_, (count, _))| *count)
            .max()
            .unwrap_or(0);
        if recent <= Self::FREE {
            return Duration::ZERO;
        }
        let doublings = (recent - Self::FREE).min(10);
        (Duration::from_millis(50) * (1 << doublings)).min(Self::DELAY_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clauses_follow_the_rules() {
        let made = |text: &str| from_clause("ann", &Secret::new(text));
        assert!(made("Secret123").unwrap().scram.is_some());
        assert!(made(&format!("md5{}", "0123456789abcdef".repeat(2))).unwrap().md5.is_some());
        for weak in ["short1A", "alllowercase1", "NODIGITSx", "With space1", "Quote'1abc"] {
            assert!(made(weak).is_err(), "{weak}");
        }
    }

    #[test]
    fn many_failures_slow_down() {
        let throttle = Throttle::default();
        for _ in 0..5 {
            throttle.failed("ann", None);
        }
        assert_eq!(throttle.delay("ann"), Duration::ZERO);
        throttle.failed("ann", None);
        assert!(throttle.delay("ann") > Duration::ZERO);
        assert_eq!(throttle.delay("bob"), Duration::ZERO);
        throttle.succeeded("ann", None);
        assert_eq!(throttle.delay("ann"), Duration::ZERO);
    }
}
