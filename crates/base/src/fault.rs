//! Fault points: named places where a test makes the process fail.
//!
//! `BLUESHIFT_FAULTS="commit.before_put=kill;segment.put=error(58030)"` arms them at start;
//! [`set`] arms them in process. An unarmed point costs one relaxed atomic load.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::{Error, Result, SqlState};

/// What an armed point does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Ends the process at once, as `kill -9` would.
    Kill,
    /// Panics the current task.
    Panic,
    /// Returns an error with this SQLSTATE.
    Error(SqlState),
    /// Sleeps before going on.
    Delay(Duration),
}

static ARMED: AtomicBool = AtomicBool::new(false);
static POINTS: Mutex<Option<HashMap<String, Fault>>> = Mutex::new(None);

/// Arms `point`, or disarms it with `None`.
pub fn set(point: &str, fault: Option<Fault>) {
    let mut points = POINTS.lock();
    let map = points.get_or_insert_with(HashMap::new);
    match fault {
        Some(fault) => map.insert(point.to_owned(), fault),
        None => map.remove(point),
    };
    ARMED.store(!map.is_empty(), Ordering::Release);
}

/// Arms what `spec` says, for example the value of `BLUESHIFT_FAULTS`.
pub fn arm(spec: &str) -> Result<()> {
    for entry in spec.split(';').filter(|entry| !entry.trim().is_empty()) {
        let (point, action) = entry.split_once('=').ok_or_else(|| bad(entry))?;
        set(point.trim(), Some(parse(action.trim()).ok_or_else(|| bad(entry))?));
    }
    Ok(())
}

fn bad(entry: &str) -> Error {
    crate::error!(InvalidParameterValue, "fault \"{entry}\" is not of the form point=action")
        .hint("Actions are kill, panic, error(SQLSTATE) and delay(milliseconds).")
}

fn parse(action: &str) -> Option<Fault> {
    let argument = |name: &str| action.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')');
    match action {
        "kill" => Some(Fault::Kill),
        "panic" => Some(Fault::Panic),
        _ => argument("error").and_then(SqlState::from_code).map(Fault::Error).or_else(|| {
            let ms = argument("delay")?.parse().ok()?;
            Some(Fault::Delay(Duration::from_millis(ms)))
        }),
    }
}

/// Passes the point `name`: nothing happens unless a test armed it.
#[expect(clippy::panic, reason = "an armed panic fault")]
pub fn point(name: &str) -> Result<()> {
    if !ARMED.load(Ordering::Acquire) {
        return Ok(());
    }
    let fault = POINTS.lock().as_ref().and_then(|points| points.get(name).cloned());
    match fault {
        None => Ok(()),
        Some(Fault::Kill) => std::process::abort(),
        Some(Fault::Panic) => panic!("fault point {name}"),
        Some(Fault::Error(state)) => Err(Error::new(state, format!("fault point {name}"))),
        Some(Fault::Delay(time)) => {
            std::thread::sleep(time);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn armed_points_fail_and_others_pass() {
        arm("t.one=error(58030); t.two=delay(1)").unwrap();
        assert_eq!(point("t.one").unwrap_err().sqlstate(), SqlState::IoError);
        assert!(point("t.two").is_ok() && point("t.three").is_ok());
        set("t.one", None);
        assert!(point("t.one").is_ok());
        assert!(arm("nonsense").is_err() && arm("a=explode").is_err());
    }
}
