//! Greedy operator ordering for graphs beyond exhaustive search, and its improvement.
//!
//! Joins again and again the pair that gives the fewest rows (or, in a second try, costs
//! least), then takes windows of the tree and lets the exhaustive search order what is in them.

use std::collections::BTreeMap;

use crate::Limits;
use crate::enumerate;
use crate::memo::{Made, Memo};
use crate::set::RelationSet;

/// What a pair is chosen by.
#[derive(Clone, Copy)]
enum Choice {
    Rows,
    Cost,
    /// What a number of the pair and of this seed says.
    Chance(u64),
}

/// Leaves a plan of all relations in the table.
pub(crate) fn solve(memo: &mut Memo<'_>, limits: &Limits) {
    let all = RelationSet::first(memo.model.relations.len());
    for choice in [Choice::Rows, Choice::Cost] {
        join_all(memo, choice);
    }
    for _ in 0..limits.sweeps {
        let before = cost(memo, all);
        if let Some(best) = memo.best(all) {
            improve(memo, best, limits);
        }
        if cost(memo, all) >= before {
            return;
        }
    }
}

/// Leaves a plan of all relations in the table that only chance chose.
pub(crate) fn draw(memo: &mut Memo<'_>, seed: u64) {
    join_all(memo, Choice::Chance(seed));
}

/// A number below 1 that depends on the seed and the set alone (splitmix64).
fn chance(seed: u64, set: RelationSet) -> f64 {
    let mut word = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for relation in set.iter() {
        word = word.wrapping_add(relation as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^= word >> 31;
    }
    (word >> 11) as f64 / (1_u64 << 53) as f64
}

fn cost(memo: &Memo<'_>, set: RelationSet) -> f64 {
    memo.best(set).map_or(f64::INFINITY, |plan| memo.plans[plan].cost)
}

fn join_all(memo: &mut Memo<'_>, choice: Choice) {
    let mut items = memo.leaves();
    let mut scores: BTreeMap<(RelationSet, RelationSet), f64> = BTreeMap::new();
    for (at, left) in items.iter().enumerate() {
        for right in &items[at + 1..] {
            score(memo, choice, (*left, *right), &mut scores);
        }
    }
    while items.len() > 1 {
        let chosen = scores.iter().min_by(|a, b| a.1.total_cmp(b.1).then(a.0.cmp(b.0)));
        // Parts that nothing connects meet when they are whole: an edge is there then.
        let Some(((left, right), _)) = chosen.map(|(pair, score)| (*pair, *score)) else {
            return;
        };
        memo.join(left, right);
        let joined = left.union(right);
        items.retain(|item| !item.is_subset_of(joined));
        scores.retain(|(a, b), _| !a.is_subset_of(joined) && !b.is_subset_of(joined));
        for other in &items {
            let pair = if *other < joined { (*other, joined) } else { (joined, *other) };
            score(memo, choice, pair, &mut scores);
        }
        items.push(joined);
    }
}

fn score(
    memo: &mut Memo<'_>,
    choice: Choice,
    pair: (RelationSet, RelationSet),
    scores: &mut BTreeMap<(RelationSet, RelationSet), f64>,
) {
    if !memo.connects(pair.0, pair.1) {
        return;
    }
    let joined = pair.0.union(pair.1);
    let value = match choice {
        Choice::Rows => memo.entry(joined).map_or_else(|| memo.model.rows(joined), |e| e.rows),
        Choice::Chance(seed) => chance(seed, joined),
        Choice::Cost => {
            memo.join(pair.0, pair.1);
            cost(memo, joined) - cost(memo, pair.0) - cost(memo, pair.1)
        }
    };
    scores.insert(pair, value);
}

/// Orders windows of a plan's tree anew, from the leaves up. Recursion is as deep as the tree,
/// which has at most as many levels as relations.
fn improve(memo: &mut Memo<'_>, plan: usize, limits: &Limits) {
    let Made::Joined { build, probe, .. } = memo.plans[plan].made else {
        return;
    };
    let mut units = vec![build, probe];
    while units.len() < limits.window {
        let widest = (0..units.len()).max_by_key(|at| memo.plans[units[*at]].set.len());
        let Some(at) = widest else {
            break;
        };
        let Made::Joined { build, probe, .. } = memo.plans[units[at]].made else {
            break;
        };
        units[at] = build;
        units.push(probe);
    }
    for unit in &units {
        improve(memo, *unit, limits);
    }
    let units: Vec<RelationSet> = units.iter().map(|unit| memo.plans[*unit].set).collect();
    enumerate::solve(memo, &units, limits.pairs);
}
