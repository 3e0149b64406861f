//! How many calls of some methods Python may have at once: of one too many it never hears.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The methods that have a quota, by their paths. All shards share it.
#[derive(Debug, Default)]
pub struct Quotas(HashMap<Box<str>, Quota>);

#[derive(Debug)]
struct Quota {
    most: usize,
    taken: Arc<AtomicUsize>,
}

/// A call's part of its method's quota, as long as this lives.
#[derive(Debug)]
pub struct Taken(Arc<AtomicUsize>);

/// As many as may be are there.
#[derive(Debug, PartialEq)]
pub struct Full {
    pub most: usize,
}

impl Quotas {
    pub fn new(most: HashMap<Box<str>, usize>) -> Self {
        Self(most.into_iter().map(|(path, most)| (path, Quota { most, taken: Arc::default() })).collect())
    }

    /// Takes a part for a call to `path`; None where that has no quota.
    pub fn take(&self, path: &str) -> Result<Option<Taken>, Full> {
        let Some(Quota { most, taken }) = self.0.get(path) else { return Ok(None) };
        let one_more = |count| (count < *most).then_some(count + 1);
        match taken.fetch_update(Relaxed, Relaxed, one_more) {
            Ok(_) => Ok(Some(Taken(taken.clone()))),
            Err(_) => Err(Full { most: *most }),
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_calls_have_a_part_and_who_leaves_makes_room() {
        let quotas = Quotas::new(HashMap::from([("Watch".into(), 2)]));
        let first = quotas.take("Watch").unwrap();
        let _second = quotas.take("Watch").unwrap();
        assert_eq!(quotas.take("Watch").unwrap_err(), Full { most: 2 });
        assert!(quotas.take("Check").unwrap().is_none());
        drop(first);
        assert!(quotas.take("Watch").unwrap().is_some());
    }
}
