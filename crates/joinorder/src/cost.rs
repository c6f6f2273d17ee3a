//! What a join costs, in nanoseconds of one slice.
//!
//! Slices work side by side: what is divided over them costs its sum, what every slice of a node
//! waits for costs as often as there are slices. Constants are those of a hash join over Arrow
//! batches; only their ratios matter.

use crate::model::Place;

/// The cluster that the join runs on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Machine {
    /// Compute nodes: rows cross the network only between nodes.
    pub nodes: u16,
    /// Data slices of all nodes.
    pub slices: u16,
    /// What one query may hold on a node.
    pub memory_bytes: f64,
}

impl Default for Machine {
    fn default() -> Self {
        Machine { nodes: 1, slices: 1, memory_bytes: f64::from(1 << 30) }
    }
}

/// What moves before a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Movement {
    /// Nothing: both sides lie together, or one is on every node.
    None,
    /// The built side goes to every node.
    Broadcast,
    /// One side goes to the slices of the other, or both to the slices of the join key.
    Shuffle,
}

/// Putting a row into a hash table, and finding it there, while the table fits into caches.
const BUILD_ROW: f64 = 45.0;
const PROBE_ROW: f64 = 18.0;
/// Copying a byte of the built side into one piece, and of a row that comes out.
const COPY_BYTE: f64 = 0.15;
const OUTPUT_ROW: f64 = 8.0;
/// Comparing a pair of rows where there is no key to find them by.
const PAIR: f64 = 1.5;
/// Dividing rows by the hash of a key.
const EXCHANGE_ROW: f64 = 12.0;
/// A byte between nodes, packed and unpacked.
const NETWORK_BYTE: f64 = 1.0;
/// What a row takes in a hash table beside its columns.
const ENTRY_BYTES: f64 = 24.0;
/// Up to this size a hash table is found in caches; from `LARGE` on it never is.
const CACHED_BYTES: f64 = 1_048_576.0;
const LARGE_BYTES: f64 = 268_435_456.0;
/// How much dearer access to a large table is.
const MISSES: f64 = 3.0;
/// A byte that does not fit into memory: written and read again, if it can be at all.
const SPILLED_BYTE: f64 = 20.0;

/// One side of a join.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Side {
    pub(crate) rows: f64,
    pub(crate) width: f64,
    pub(crate) place: Place,
}

impl Side {
    fn bytes(&self) -> f64 {
        self.rows * self.width
    }
}

/// How rows of two sides meet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meeting<'a> {
    /// Pairs of classes that are equal: of the built side, of the probing one.
    pub(crate) keys: &'a [(usize, usize)],
    /// Rows and bytes a row that come out.
    pub(crate) rows: f64,
    pub(crate) width: f64,
    /// True when the probing side only keeps or drops built rows: these then have to be in one
    /// place, and the output lies like them.
    pub(crate) tests_built: bool,
}

/// A way to run one join.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) cost: f64,
    pub(crate) place: Place,
    pub(crate) movement: Movement,
}

impl Machine {
    fn slices(&self) -> f64 {
        f64::from(self.slices.max(1))
    }

    fn nodes(&self) -> f64 {
        f64::from(self.nodes.max(1))
    }

    /// Tells `take` every way to join `build` and `probe`, the cost without that of the sides.
    pub(crate) fn ways(
        &self,
        build: Side,
        probe: Side,
        meeting: &Meeting<'_>,
        mut take: impl FnMut(Way),
    ) {
        let output = meeting.rows * (OUTPUT_ROW + meeting.width * COPY_BYTE);
        if meeting.keys.is_empty() {
            let pairs = build.rows * probe.rows * PAIR + build.bytes() * COPY_BYTE;
            let (moved, stays) = if meeting.tests_built { (probe, build) } else { (build, probe) };
            return take(self.copied(moved, stays, pairs + output));
        }
        let replicas = build.place == Place::Replica && probe.place == Place::Replica;
        if !meeting.tests_built || replicas {
            let whole = self.table(build, true) + self.probe(build, probe, true) + output;
            take(self.copied(build, probe, whole));
        }
        let divided = self.table(build, false) + self.probe(build, probe, false) + output;
        if probe.place == Place::Replica && !replicas {
            // Every slice looks through the whole of a table that each node has.
            let again = probe.rows * PROBE_ROW * (self.slices() - 1.0);
            let cost = divided + again;
            take(Way { cost, place: build.place, movement: Movement::None });
        }
        let (build_moves, probe_moves) = (self.exchange(build), self.exchange(probe));
        let mut lying = false;
        for (b, p) in meeting.keys {
            let (b_lies, p_lies) = (build.place == Place::Hash(*b), probe.place == Place::Hash(*p));
            if !b_lies && !p_lies {
                continue;
            }
            lying = true;
            let movement = if b_lies && p_lies { Movement::None } else { Movement::Shuffle };
            let moved = [(b_lies, build_moves), (p_lies, probe_moves)];
            let moved = moved.iter().filter(|(lies, _)| !lies).map(|(_, cost)| cost);
            let place = Place::Hash(if meeting.tests_built { *b } else { *p });
            take(Way { cost: divided + moved.sum::<f64>(), place, movement });
        }
        if lying {
            return;
        }
        // Rows that move lie by all keys together, which only a single key tells apart.
        let place = match meeting.keys {
            [(b, p)] => Place::Hash(if meeting.tests_built { *b } else { *p }),
            _ => Place::Anywhere,
        };
        let cost = divided + build_moves + probe_moves;
        take(Way { cost, place, movement: Movement::Shuffle });
    }

    /// The built side on every node, the probing side where it is.
    fn copied(&self, build: Side, probe: Side, work: f64) -> Way {
        if build.place == Place::Replica {
            return Way { cost: work, place: probe.place, movement: Movement::None };
        }
        let cost = work + build.bytes() * (self.nodes() - 1.0) * NETWORK_BYTE;
        let place = if probe.place == Place::Replica { Place::Anywhere } else { probe.place };
        Way { cost, place, movement: Movement::Broadcast }
    }

    /// Rows sent to the slices of a hash.
    pub(crate) fn exchange(&self, side: Side) -> f64 {
        let slices = self.slices();
        let nodes = self.nodes();
        let moved = side.rows * EXCHANGE_ROW + side.bytes() * COPY_BYTE;
        moved * ((slices - 1.0) / slices).max(0.05)
            + side.bytes() * (nodes - 1.0) / nodes * NETWORK_BYTE
    }

    /// Building the table, on every node or divided over slices.
    fn table(&self, build: Side, whole: bool) -> f64 {
        let row = BUILD_ROW * self.misses(build, whole) + build.width * COPY_BYTE;
        let times = if whole { self.slices() } else { 1.0 };
        let node_bytes =
            build.rows * (build.width + ENTRY_BYTES) / if whole { 1.0 } else { self.nodes() };
        let spilled = (node_bytes - self.memory_bytes).max(0.0) * self.nodes();
        build.rows * row * times + spilled * SPILLED_BYTE
    }

    fn probe(&self, build: Side, probe: Side, whole: bool) -> f64 {
        probe.rows * PROBE_ROW * self.misses(build, whole)
    }

    /// How much dearer a table is than one in caches, from 1 on.
    fn misses(&self, build: Side, whole: bool) -> f64 {
        let table =
            build.rows * (build.width + ENTRY_BYTES) / if whole { 1.0 } else { self.slices() };
        let beyond = (table / CACHED_BYTES).max(1.0).ln() / (LARGE_BYTES / CACHED_BYTES).ln();
        1.0 + (MISSES - 1.0) * beyond.min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(rows: f64, place: Place) -> Side {
        Side { rows, width: 16.0, place }
    }

    fn cheapest(build: Side, probe: Side, nodes: u16) -> Way {
        let machine = Machine { nodes, slices: nodes * 2, memory_bytes: 1e9 };
        let meeting =
            Meeting { keys: &[(0, 0)], rows: probe.rows, width: 32.0, tests_built: false };
        let mut ways = Vec::new();
        machine.ways(build, probe, &meeting, |way| ways.push(way));
        ways.into_iter().min_by(|a, b| a.cost.total_cmp(&b.cost)).unwrap()
    }

    #[test]
    fn what_lies_together_does_not_move() {
        let keyed = Place::Hash(0);
        let way = cheapest(side(1e6, keyed), side(1e7, keyed), 4);
        assert_eq!((way.movement, way.place), (Movement::None, keyed));
        let way = cheapest(side(1e3, Place::Replica), side(1e7, Place::Anywhere), 4);
        assert_eq!((way.movement, way.place), (Movement::None, Place::Anywhere));
    }

    #[test]
    fn small_sides_are_copied_and_large_ones_divided() {
        let anywhere = Place::Anywhere;
        assert_eq!(
            cheapest(side(1e3, anywhere), side(1e7, anywhere), 4).movement,
            Movement::Broadcast
        );
        assert_eq!(
            cheapest(side(5e6, anywhere), side(1e7, anywhere), 4).movement,
            Movement::Shuffle
        );
    }

    #[test]
    fn the_smaller_side_is_built() {
        let keyed = Place::Hash(0);
        let (small, large) = (side(1e4, keyed), side(1e6, keyed));
        assert!(cheapest(small, large, 1).cost < cheapest(large, small, 1).cost);
    }
}
