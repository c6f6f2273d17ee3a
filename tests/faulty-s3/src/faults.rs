//! What goes wrong, and when: rules, and dice that fall the same for the same seed.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::request::{Operation, Target};

/// What a rule does to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fault {
    /// The request waits for `delay_ms`, then goes on.
    Delay,
    /// `status` instead of any effect.
    Error,
    /// The effect, then `status`.
    ErrorAfter,
    /// The connection is reset or closed before any effect. The dice say which, here and below.
    Reset,
    /// The effect, then the connection is reset or closed.
    ResetAfter,
    /// 200 as if there had been an effect: what no store may do, for tests of the tests.
    Forget,
    /// The connection is reset or closed, and the effect comes `delay_ms` later.
    Late,
    /// The connection is closed within the answer's body.
    CutBody,
    /// The answer's body is shorter than what was asked for, and says so in its length only.
    TruncateBody,
    /// One bit of the answer's body is another.
    FlipBit,
}

/// A fault and the requests that it may hit. Absent filters match all.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    pub(crate) fault: Fault,
    #[serde(default)]
    operations: Vec<Operation>,
    /// The key (of a list: the prefix) has this in it.
    #[serde(default)]
    key: String,
    /// Of the requests that match.
    #[serde(default = "always")]
    probability: f64,
    /// So many requests that match pass first.
    #[serde(default)]
    skip: u64,
    /// The fault comes no more often than this.
    #[serde(default = "unlimited")]
    times: u64,
    /// The status of an error.
    #[serde(default = "slow_down")]
    pub(crate) status: u16,
    #[serde(default)]
    pub(crate) delay_ms: u64,
}

fn always() -> f64 {
    1.0
}

fn unlimited() -> u64 {
    u64::MAX
}

fn slow_down() -> u16 {
    503
}

/// The rules and their seed, as the control endpoint takes them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    rules: Vec<Rule>,
}

impl Plan {
    /// What no request could be given.
    fn check(&self) -> Result<(), String> {
        for (number, rule) in self.rules.iter().enumerate() {
            if !(0.0..=1.0).contains(&rule.probability) {
                return Err(format!("rule {number}: a probability is from 0 to 1"));
            }
            if !(400..=599).contains(&rule.status) {
                return Err(format!("rule {number}: a status is from 400 to 599"));
            }
        }
        Ok(())
    }
}

/// How often a rule's filters matched, and how often its fault came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Count {
    pub(crate) matched: u64,
    pub(crate) fired: u64,
}

/// What one request meets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fate {
    pub(crate) delay_ms: u64,
    /// The first rule that fired and is no delay.
    pub(crate) rule: Option<Rule>,
    /// For choices within the fault.
    pub(crate) dice: u64,
}

#[derive(Default)]
pub(crate) struct Faults {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    plan: Plan,
    counts: Vec<Count>,
    /// How often each rule saw each target: the dice depend on this and not on what other
    /// requests came before.
    seen: HashMap<(usize, Target), u64>,
}

impl Faults {
    /// Replaces the rules; counts begin anew.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub(crate) fn set(&self, text: &[u8]) -> Result<(), String> {
        let plan: Plan = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        plan.check()?;
        let counts = vec![Count::default(); plan.rules.len()];
        *self.state.lock() = State { plan, counts, seen: HashMap::new() };
        Ok(())
    }

    pub(crate) fn counts(&self) -> Vec<Count> {
        self.state.lock().counts.clone()
    }

    /// Decides what a request meets.
    pub(crate) fn meet(&self, target: &Target) -> Fate {
        let State { plan, counts, seen } = &mut *self.state.lock();
        let mut fate = Fate::default();
        for (number, rule) in plan.rules.iter().enumerate() {
            if !rule.matches(target) {
                continue;
            }
            let count = &mut counts[number];
            count.matched += 1;
            let nth = seen.entry((number, target.clone())).or_default();
            *nth += 1;
            let dice = roll((plan.seed, number, target, *nth));
            let is_spent = count.matched <= rule.skip || count.fired >= rule.times;
            // A rule after the one that decides is not rolled for.
            let is_idle = fate.rule.is_some() && rule.fault != Fault::Delay;
            if is_spent || is_idle || !falls(dice, rule.probability) {
                continue;
            }
            count.fired += 1;
            if rule.fault == Fault::Delay {
                fate.delay_ms += rule.delay_ms;
            } else {
                fate.rule = Some(rule.clone());
                fate.dice = roll(dice);
            }
        }
        fate
    }
}

impl Rule {
    fn matches(&self, target: &Target) -> bool {
        let is_operation =
            self.operations.is_empty() || self.operations.contains(&target.operation);
        is_operation && target.key.contains(&self.key)
    }
}

fn roll(what: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

fn falls(dice: u64, probability: f64) -> bool {
    // The upper 53 bits, as a number from 0 to less than 1.
    ((dice >> 11) as f64) < probability * (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(operation: Operation, key: &str) -> Target {
        Target { operation, bucket: "b".to_owned(), key: key.to_owned() }
    }

    fn faults(text: &str) -> Faults {
        let faults = Faults::default();
        faults.set(text.as_bytes()).unwrap();
        faults
    }

    #[test]
    fn filters_skips_and_limits_hold() {
        let faults = faults(
            r#"{"rules": [{"fault": "error", "operations": ["put_object"], "key": "log/",
                           "skip": 1, "times": 2, "status": 500}]}"#,
        );
        let fired = |operation, key| faults.meet(&target(operation, key)).rule.is_some();
        assert!(!fired(Operation::GetObject, "log/1"));
        assert!(!fired(Operation::PutObject, "data/1"));
        let log: Vec<bool> = (0..5).map(|_| fired(Operation::PutObject, "x/log/1")).collect();
        assert_eq!(log, [false, true, true, false, false]);
        assert_eq!(faults.counts(), [Count { matched: 5, fired: 2 }]);
    }

    #[test]
    fn dice_depend_on_the_seed_and_the_request_alone() {
        let rules = r#""rules": [{"fault": "reset", "probability": 0.25}]}"#;
        let sequence = |seed: u64, others: usize| -> Vec<bool> {
            let faults = faults(&format!("{{\"seed\": {seed}, {rules}"));
            (0..400)
                .map(|_| {
                    for _ in 0..others {
                        faults.meet(&target(Operation::HeadObject, "other"));
                    }
                    faults.meet(&target(Operation::GetObject, "k")).rule.is_some()
                })
                .collect()
        };
        let first = sequence(7, 0);
        assert_eq!(first, sequence(7, 3));
        assert_ne!(first, sequence(8, 0));
        let fired = first.iter().filter(|fired| **fired).count();
        assert!((70..130).contains(&fired), "{fired} of 400");
    }

    #[test]
    fn delays_come_with_faults() {
        let faults = faults(
            r#"{"rules": [{"fault": "delay", "delay_ms": 5}, {"fault": "reset"},
                          {"fault": "error"}, {"fault": "delay", "delay_ms": 2}]}"#,
        );
        let fate = faults.meet(&target(Operation::GetObject, "k"));
        assert_eq!(fate.delay_ms, 7);
        assert_eq!(fate.rule.unwrap().fault, Fault::Reset);
        assert_eq!(faults.counts()[2].fired, 0);
    }

    #[test]
    fn wrong_rules_are_refused() {
        let faults = Faults::default();
        for text in [
            r#"{"rules": [{"fault": "explode"}]}"#,
            r#"{"rules": [{"fault": "error", "statuss": 500}]}"#,
            r#"{"rules": [{"fault": "error", "status": 200}]}"#,
            r#"{"rules": [{"fault": "error", "probability": 2}]}"#,
            "rules",
        ] {
            assert!(faults.set(text.as_bytes()).is_err(), "{text}");
        }
    }
}
