//! Records in columns, until a journal writes them.

use std::sync::Arc;

use super::exposures::Exposures;
use crate::batch::Ns;
use crate::decide::Decision;
use crate::spans::TraceId;

/// One request's end, without what many have in common.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Its number; higher than those before.
    pub seq: u64,
    /// Nanoseconds since the epoch.
    pub arrived: u64,
    pub took: Ns,
    /// How long it waited; None where it did not get as far as a queue.
    pub queue: Option<Ns>,
    pub rows: u64,
    pub unit: &'a str,
    /// The caller's; where it is empty, one is made of the boot and the number.
    pub request_id: &'a str,
    /// The caller's trace; zeros for none.
    pub trace: TraceId,
}

/// Texts, one behind the other.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    text: String,
    ends: Vec<usize>,
}

impl Texts {
    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
    }

    fn join(&mut self, others: &Self) {
        let begin = self.text.len();
        self.text.push_str(&others.text);
        self.ends.extend(others.ends.iter().map(|end| begin + end));
    }

    fn after(&self, first: usize) -> impl Iterator<Item = &str> {
        let begin = if first == 0 { Some(&0) } else { self.ends.get(first - 1) };
        let ends = self.ends.get(first..).unwrap_or_default();
        begin.into_iter().chain(ends).zip(ends).map(|(&begin, &end)| &self.text[begin..end])
    }

    fn truncate(&mut self, count: usize) {
        self.ends.truncate(count);
        self.text.truncate(self.ends.last().copied().unwrap_or(0));
    }

    /// Yields them in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.after(0)
    }
}

/// A decision, and the code that a request ended with.
pub type End = (Arc<Decision>, &'static str);

/// Records in the order of their numbers.
#[derive(Clone, Debug)]
pub struct Page {
    /// What this start of the process is called.
    pub boot: Arc<str>,
    pub seqs: Vec<u64>,
    pub arrived: Vec<u64>,
    pub took: Vec<Ns>,
    pub queues: Vec<Option<Ns>>,
    pub rows: Vec<u64>,
    pub units: Texts,
    pub request_ids: Texts,
    pub traces: Vec<TraceId>,
    /// Which of `ends` each has.
    pub places: Vec<usize>,
    pub ends: Vec<End>,
    /// Records for which there was no room: they came after those that are here.
    pub lost: u64,
    /// Those of them that are exposures.
    pub lost_exposures: Exposures,
}

impl Page {
    /// Makes an empty page of the boot called so.
    pub fn new(boot: Arc<str>) -> Self {
        Self {
            boot,
            seqs: Vec::new(),
            arrived: Vec::new(),
            took: Vec::new(),
            queues: Vec::new(),
            rows: Vec::new(),
            units: Texts::default(),
            request_ids: Texts::default(),
            traces: Vec::new(),
            places: Vec::new(),
            ends: Vec::new(),
            lost: 0,
            lost_exposures: Exposures::default(),
        }
    }

    /// Returns how many records there are.
    pub fn len(&self) -> usize {
        self.seqs.len()
    }

    /// Says whether nothing came, not even what was lost.
    pub fn is_empty(&self) -> bool {
        self.seqs.is_empty() && self.lost == 0
    }

    /// Takes a record whose end is `ends[place]`, or, where that is the next place, `end`.
    pub fn push(&mut self, row: Row<'_>, place: usize, end: impl FnOnce() -> End) {
        if place == self.ends.len() {
            self.ends.push(end());
        }
        self.seqs.push(row.seq);
        self.arrived.push(row.arrived);
        self.took.push(row.took);
        self.queues.push(row.queue);
        self.rows.push(row.rows);
        self.units.push(row.unit);
        self.request_ids.push(row.request_id);
        self.traces.push(row.trace);
        self.places.push(place);
    }

    /// Counts a record for which there is no room.
    pub fn lose(&mut self, decision: &Arc<Decision>, unit: &str) {
        self.lost += 1;
        self.lost_exposures.note(decision, u64::from(!unit.is_empty()));
    }

    /// Returns those of the records that are exposures, counted by arm.
    pub fn exposures(&self) -> Exposures {
        self.exposures_from(0)
    }

    fn exposures_from(&self, first: usize) -> Exposures {
        let mut counts = vec![0; self.ends.len()];
        for (unit, &place) in self.units.after(first).zip(self.places.get(first..).unwrap_or_default()) {
            counts[place] += u64::from(!unit.is_empty());
        }
        let mut found = Exposures::default();
        self.ends.iter().zip(counts).for_each(|((decision, _), count)| found.note(decision, count));
        found
    }

    /// Loses all but the first `count`.
    pub fn keep(&mut self, count: usize) {
        self.lost_exposures.join(&self.exposures_from(count));
        self.lost += self.len().saturating_sub(count) as u64;
        self.seqs.truncate(count);
        self.arrived.truncate(count);
        self.took.truncate(count);
        self.queues.truncate(count);
        self.rows.truncate(count);
        self.units.truncate(count);
        self.request_ids.truncate(count);
        self.traces.truncate(count);
        self.places.truncate(count);
    }

    /// Takes what `later` has, whose numbers are higher.
    pub fn join(&mut self, later: &Self) {
        let ends = self.ends.len();
        self.ends.extend_from_slice(&later.ends);
        self.places.extend(later.places.iter().map(|place| ends + place));
        self.seqs.extend_from_slice(&later.seqs);
        self.arrived.extend_from_slice(&later.arrived);
        self.took.extend_from_slice(&later.took);
        self.queues.extend_from_slice(&later.queues);
        self.rows.extend_from_slice(&later.rows);
        self.units.join(&later.units);
        self.request_ids.join(&later.request_ids);
        self.traces.extend_from_slice(&later.traces);
        self.lost += later.lost;
        self.lost_exposures.join(&later.lost_exposures);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Reason;

    fn decision() -> Arc<Decision> {
        Arc::new(Decision { assigned: "a".into(), ..Decision::outright("m", 1, Reason::Split) })
    }

    /// Returns a page whose units grow.
    fn page(seqs: std::ops::Range<u64>) -> Page {
        let mut page = Page::new("b".into());
        for seq in seqs {
            let unit = "ü".repeat(seq as usize);
            let row =
                Row { seq, arrived: 9, took: 1, queue: None, rows: 1, unit: &unit, request_id: "", trace: [0; 16] };
            page.push(row, 0, || (decision(), "OK"));
        }
        page
    }

    fn units(page: &Page) -> Vec<usize> {
        page.units.iter().map(|unit| unit.chars().count()).collect()
    }

    #[test]
    fn what_is_kept_is_the_oldest_and_the_rest_is_lost() {
        assert!(page(0..0).is_empty());
        let mut kept = page(0..5);
        kept.keep(3);
        assert_eq!((kept.len(), kept.lost, units(&kept)), (3, 2, vec![0, 1, 2]));
        kept.keep(9);
        assert_eq!((kept.len(), kept.lost), (3, 2));
        kept.keep(0);
        assert_eq!((kept.len(), kept.lost, kept.is_empty()), (0, 5, false));
    }

    fn total(exposures: &Exposures) -> u64 {
        exposures.by_arm().values().sum()
    }

    #[test]
    fn exposures_are_counted_whether_they_are_here_or_lost() {
        let mut kept = page(0..5); // the first of which has no unit
        assert_eq!((total(&kept.exposures()), total(&kept.lost_exposures)), (4, 0));
        kept.keep(2);
        assert_eq!((total(&kept.exposures()), total(&kept.lost_exposures)), (1, 3));
        kept.lose(&decision(), "u");
        kept.lose(&decision(), "");
        assert_eq!((kept.lost, total(&kept.lost_exposures)), (5, 4));
        let mut cut = page(1..4);
        cut.keep(1);
        kept.join(&cut);
        assert_eq!((kept.lost, total(&kept.exposures()), total(&kept.lost_exposures)), (7, 2, 6));
    }

    #[test]
    fn joined_pages_are_as_if_they_had_been_one() {
        let (mut first, mut later) = (page(0..2), page(2..6));
        later.keep(3);
        first.join(&later);
        assert_eq!((&*first.seqs, &*first.places, first.lost), (&[0, 1, 2, 3, 4][..], &[0, 0, 1, 1, 1][..], 1));
        assert_eq!((units(&first), first.ends.len()), (vec![0, 1, 2, 3, 4], 2));
    }
}
