//! Fault points: named places where a test makes the process fail.
//!
//! `BLUESHIFT_FAULTS="commit.before_put=kill@2;segment.put=error(58030)"` arms them at start;
//! `@2` lets the first two passes through, so that a point which the start passes too fails later.
//! [`set`] arms them in process. An unarmed point costs one relaxed atomic load.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
static POINTS: Mutex<Option<HashMap<String, Armed>>> = Mutex::new(None);
static HITS: AtomicU64 = AtomicU64::new(0);

/// An armed point.
struct Armed {
    fault: Fault,
    /// Passes that it lets through first.
    spared: u32,
}

/// Arms `point`, or disarms it with `None`.
pub fn set(point: &str, fault: Option<Fault>) {
    set_after(point, fault, 0);
}

fn set_after(point: &str, fault: Option<Fault>, spared: u32) {
    let mut points = POINTS.lock();
    let map = points.get_or_insert_with(HashMap::new);
    match fault {
        Some(fault) => map.insert(point.to_owned(), Armed { fault, spared }),
        None => map.remove(point),
    };
    ARMED.store(!map.is_empty(), Ordering::Release);
}

/// Arms what `spec` says, for example the value of `BLUESHIFT_FAULTS`.
pub fn arm(spec: &str) -> Result<()> {
    for entry in spec.split(';').filter(|entry| !entry.trim().is_empty()) {
        let (point, action) = entry.split_once('=').ok_or_else(|| bad(entry))?;
        let (action, spared) = action.split_once('@').unwrap_or((action, "0"));
        let spared = spared.trim().parse().map_err(|_| bad(entry))?;
        let fault = parse(action.trim()).ok_or_else(|| bad(entry))?;
        set_after(point.trim(), Some(fault), spared);
    }
    Ok(())
}

/// How often an armed point has been passed in this process: a test sees that its fault struck.
pub fn hits() -> u64 {
    HITS.load(Ordering::Relaxed)
}

fn bad(entry: &str) -> Error {
    crate::error!(InvalidParameterValue, "fault \"{entry}\" is not of the form point=action")
        .hint("Actions are kill, panic, error(SQLSTATE), delay(milliseconds); @n spares n passes.")
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
    let fault = due(name);
    HITS.fetch_add(u64::from(fault.is_some()), Ordering::Relaxed);
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

/// What the point does this time.
fn due(name: &str) -> Option<Fault> {
    let mut points = POINTS.lock();
    let armed = points.as_mut()?.get_mut(name)?;
    if armed.spared > 0 {
        armed.spared -= 1;
        return None;
    }
    Some(armed.fault.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn armed_points_fail_and_others_pass() {
        arm("t.one=error(58030); t.two=delay(1)").unwrap();
        assert_eq!(point("t.one").unwrap_err().sqlstate(), SqlState::IoError);
        assert!(point("t.two").is_ok() && point("t.three").is_ok());
        assert_eq!(hits(), 2);
        set("t.one", None);
        assert!(point("t.one").is_ok());
        arm("t.late=error(53100)@2").unwrap();
        assert!(point("t.late").is_ok() && point("t.late").is_ok());
        assert_eq!(point("t.late").unwrap_err().sqlstate(), SqlState::DiskFull);
        assert!(arm("a=kill@often").is_err());
        assert!(arm("nonsense").is_err() && arm("a=explode").is_err());
    }
}
