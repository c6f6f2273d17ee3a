//! A map bounded by weight that evicts by the CLOCK rule: what was used since the hand last
//! passed gets a second round.
//!
//! Knows nothing of what it holds.

use std::collections::HashMap;
use std::hash::Hash;

struct Slot<K, V> {
    key: K,
    value: V,
    weight: usize,
    used: bool,
}

/// One shard of the cache.
pub(crate) struct Clock<K, V> {
    capacity: usize,
    weight: usize,
    slots: Vec<Option<Slot<K, V>>>,
    free: Vec<usize>,
    places: HashMap<K, usize>,
    hand: usize,
}

impl<K: Clone + Eq + Hash, V: Clone> Clock<K, V> {
    pub(crate) fn new(capacity: usize) -> Clock<K, V> {
        Clock {
            capacity,
            weight: 0,
            slots: Vec::new(),
            free: Vec::new(),
            places: HashMap::new(),
            hand: 0,
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn bytes(&self) -> usize {
        self.weight
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn get(&mut self, key: &K) -> Option<V> {
        let place = *self.places.get(key)?;
        let slot = self.slots.get_mut(place)?.as_mut()?;
        slot.used = true;
        Some(slot.value.clone())
    }

    /// Adds an entry and gives back what had to leave for it. An entry heavier than the whole
    /// is not kept; one that is there stays, since a key's value never changes.
    pub(crate) fn insert(&mut self, key: K, value: V, weight: usize) -> Vec<V> {
        if weight > self.capacity || self.places.contains_key(&key) {
            return vec![value];
        }
        let mut evicted = Vec::new();
        while self.weight + weight > self.capacity {
            match self.evict() {
                Some(value) => evicted.push(value),
                None => break,
            }
        }
        self.weight += weight;
        // A new entry is not yet marked as used, so that one long scan does not displace what
        // is read again and again.
        let slot = Some(Slot { key: key.clone(), value, weight, used: false });
        let place = match self.free.pop() {
            Some(place) => {
                self.slots[place] = slot;
                place
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        self.places.insert(key, place);
        evicted
    }

    fn evict(&mut self) -> Option<V> {
        // Two rounds visit every entry once without its mark.
        for _ in 0..self.slots.len() * 2 {
            let place = self.hand;
            self.hand = (self.hand + 1) % self.slots.len();
            match &mut self.slots[place] {
                Some(slot) if slot.used => slot.used = false,
                Some(_) => {
                    let slot = self.slots[place].take()?;
                    self.free.push(place);
                    self.places.remove(&slot.key);
                    self.weight -= slot.weight;
                    return Some(slot.value);
                }
                None => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_within_its_capacity() {
        let mut clock = Clock::new(100);
        for key in 0..1_000 {
            clock.insert(key, key, 7);
            assert!(clock.bytes() <= 100 && clock.len() <= 14);
        }
        assert_eq!(clock.bytes(), clock.len() * 7);
        assert!(clock.slots.len() <= 15);
    }

    #[test]
    fn what_is_used_stays_during_a_scan() {
        let mut clock = Clock::new(100);
        clock.insert(0, 0, 10);
        for key in 1..500 {
            assert_eq!(clock.get(&0), Some(0), "{key}");
            clock.insert(key, key, 10);
        }
        assert_eq!(clock.get(&1), None);
    }

    #[test]
    fn what_does_not_fit_is_not_kept() {
        let mut clock = Clock::new(10);
        clock.insert(1, 1, 5);
        assert_eq!(clock.insert(2, 2, 11), [2]);
        assert_eq!((clock.get(&1), clock.get(&2)), (Some(1), None));
        let mut none = Clock::new(0);
        none.insert(1, 1, 1);
        assert_eq!(none.get(&1), None);
    }
}
