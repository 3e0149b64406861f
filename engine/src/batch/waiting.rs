//! Requests that wait: who is next, and who can go along.
//!
//! The order is one of arrival, where each level of priority below the highest counts as having arrived
//! `PRIORITY_STEP` later. That never changes while a request waits, so a heap keeps it; and since time goes on, whoever
//! waits long enough is ahead of every newcomer.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::Ns;

pub const LOWEST_PRIORITY: u8 = 10;
/// What a request without a priority, or with Triton's 0, gets: one level is left above it, the others are below.
pub const DEFAULT_PRIORITY: u8 = 2;
/// What one level of priority is worth, in nanoseconds.
pub const PRIORITY_STEP: Ns = 50_000_000;
const STALE_KEPT: usize = 64;

/// Returns the level that `priority` asks for, as Triton has it: 0 for the default, 1 for the highest.
pub fn level_of(priority: u64) -> u8 {
    if priority == 0 { DEFAULT_PRIORITY } else { priority.min(LOWEST_PRIORITY as u64) as u8 }
}

/// What has to be equal for requests to run together.
pub type Key = Vec<u8>;

/// One request, with what the driver keeps of it.
#[derive(Debug)]
pub struct Item<T> {
    pub load: T,
    pub rows: u64,
    pub nbytes: u64,
    /// What its run time grows with: its rows, or more where other axes are free too.
    pub size: u64,
    pub deadline: Option<Ns>,
    /// None runs alone.
    pub key: Option<Key>,
    /// From 1 to `LOWEST_PRIORITY`.
    pub priority: u8,
    pub offered: Ns,
}

impl<T> Item<T> {
    /// Returns how many rows it takes the room of: a request without rows takes that of one.
    pub fn room(&self) -> u64 {
        self.rows.max(1)
    }
}

/// Names a request while it waits, and nobody afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    slot: usize,
    sequence: u64,
}

type Entry = Reverse<(Ns, u64, usize)>;

#[derive(Debug, Default)]
struct Group {
    heap: BinaryHeap<Entry>,
    rows: u64,
    size: u64,
}

/// Requests in order. Every method takes logarithmic time, however many kinds of requests there are.
#[derive(Debug)]
pub struct Waiting<T> {
    slots: Vec<Option<(u64, Item<T>)>>,
    free: Vec<usize>,
    heap: BinaryHeap<Entry>,
    groups: HashMap<Key, Group>,
    count: usize,
    sequence: u64,
    rows_by_level: [u64; LOWEST_PRIORITY as usize + 1],
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        let (slots, free, heap) = (Vec::new(), Vec::new(), BinaryHeap::new());
        Self { slots, free, heap, groups: HashMap::new(), count: 0, sequence: 0, rows_by_level: Default::default() }
    }
}

impl<T> Waiting<T> {
    /// Returns how many requests wait.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Says whether none does.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns how many rows would go first if a request of `level` came now; rows of a lower level do not count.
    pub fn rows_ahead(&self, level: u8) -> u64 {
        self.rows_by_level[..=level as usize].iter().sum()
    }

    /// Has `item` wait, from `now` on.
    pub fn add(&mut self, item: Item<T>, now: Ns) -> Ticket {
        self.sequence += 1;
        let sequence = self.sequence;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let entry = Reverse((now + item.priority as Ns * PRIORITY_STEP, sequence, slot));
        if let Some(key) = &item.key {
            if !self.groups.contains_key(key) {
                self.groups.insert(key.clone(), Group::default());
            }
            if let Some(group) = self.groups.get_mut(key) {
                group.heap.push(entry);
                group.rows += item.room();
                group.size += item.size;
            }
        }
        self.heap.push(entry);
        self.count += 1;
        self.rows_by_level[item.priority as usize] += item.room();
        self.slots[slot] = Some((sequence, item));
        Ticket { slot, sequence }
    }

    /// Takes a request out, if it still waits. What it leaves in the heaps is passed over later.
    pub fn remove(&mut self, ticket: Ticket) -> Option<Item<T>> {
        if !is_waiting(&self.slots, ticket.slot, ticket.sequence) {
            return None;
        }
        let (_, item) = self.slots[ticket.slot].take()?;
        self.free.push(ticket.slot);
        self.count -= 1;
        self.rows_by_level[item.priority as usize] -= item.room();
        if let Some(key) = &item.key
            && let Some(group) = self.groups.get_mut(key)
        {
            group.rows -= item.room();
            group.size -= item.size;
            if group.rows == 0 {
                self.groups.remove(key);
            } else if group.heap.len() as u64 > 2 * group.rows + STALE_KEPT as u64 {
                let slots = &self.slots;
                group.heap.retain(|&Reverse((_, sequence, slot))| is_waiting(slots, slot, sequence));
            }
        }
        if self.heap.len() > 2 * self.count + STALE_KEPT {
            let slots = &self.slots;
            self.heap.retain(|&Reverse((_, sequence, slot))| is_waiting(slots, slot, sequence));
        }
        Some(item)
    }

    /// Returns a request that waits.
    pub fn get(&self, ticket: Ticket) -> Option<&Item<T>> {
        match self.slots.get(ticket.slot)? {
            Some((sequence, item)) if *sequence == ticket.sequence => Some(item),
            _ => None,
        }
    }

    /// Returns who is next.
    pub fn head(&mut self) -> Option<Ticket> {
        first(&mut self.heap, &self.slots)
    }

    /// Returns the rows and the size of all that wait and may run together with `item`, itself included.
    pub fn group_of(&self, item: &Item<T>) -> (u64, u64) {
        let group = item.key.as_ref().and_then(|key| self.groups.get(key));
        group.map_or((item.room(), item.size), |group| (group.rows, group.size))
    }

    /// Returns who is next among those with `key`.
    pub fn first_of(&mut self, key: &Key) -> Option<Ticket> {
        first(&mut self.groups.get_mut(key)?.heap, &self.slots)
    }
}

fn is_waiting<T>(slots: &[Option<(u64, Item<T>)>], slot: usize, sequence: u64) -> bool {
    matches!(&slots[slot], Some((number, _)) if *number == sequence)
}

fn first<T>(heap: &mut BinaryHeap<Entry>, slots: &[Option<(u64, Item<T>)>]) -> Option<Ticket> {
    while let Some(&Reverse((_, sequence, slot))) = heap.peek() {
        if is_waiting(slots, slot, sequence) {
            return Some(Ticket { slot, sequence });
        }
        heap.pop();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(priority: u8, key: Option<&[u8]>) -> Item<()> {
        let key = key.map(<[u8]>::to_vec);
        Item { load: (), rows: 1, nbytes: 4, size: 1, deadline: None, key, priority, offered: 0 }
    }

    #[test]
    fn a_level_is_worth_its_step_and_no_more() {
        let mut waiting = Waiting::default();
        let low = waiting.add(item(3, None), 0);
        let high = waiting.add(item(2, None), PRIORITY_STEP - 1);
        assert_eq!(waiting.head(), Some(high));
        waiting.remove(high);
        waiting.add(item(2, None), PRIORITY_STEP + 1);
        assert_eq!(waiting.head(), Some(low));
    }

    #[test]
    fn who_has_left_is_passed_over_and_a_ticket_counts_once() {
        let mut waiting = Waiting::default();
        let tickets: Vec<_> = (0..200).map(|now| waiting.add(item(2, Some(b"k")), now)).collect();
        for &ticket in &tickets[..199] {
            assert!(waiting.remove(ticket).is_some());
            assert!(waiting.remove(ticket).is_none());
        }
        assert_eq!((waiting.len(), waiting.head(), waiting.rows_ahead(2)), (1, Some(tickets[199]), 1));
        let again = waiting.add(item(2, Some(b"k")), 999);
        assert!(waiting.get(tickets[0]).is_none());
        assert_eq!(waiting.group_of(waiting.get(again).unwrap()), (2, 2));
        assert_eq!(waiting.first_of(&b"k".to_vec()), Some(tickets[199]));
    }
}
