//! Who is next where many want more than there is: whoever has had the least.
//!
//! This is fair queueing by virtual time, as in J. C. R. Bennett, H. Zhang, "Hierarchical packet fair queueing algorithms"
//! (SIGCOMM 1996), section 3.4: the time goes by what is served, divided by the number of those that want some, and what
//! a party gets begins when its last ends, and what would end first comes first. Who has wanted nothing for a while is
//! owed some of what it has left to others, and no more, as Linux's scheduler owes it to those that slept. So whoever
//! wants little goes before all that want much.

use std::cell::Cell;
use std::collections::BTreeMap;

/// What one party has had: the virtual time at which that ends.
#[derive(Debug)]
pub struct Share(Cell<u64>);

/// Where something stands among what waits: the least is next.
pub type Rank = (u64, u64);

/// What waits, and the virtual time.
#[derive(Debug)]
pub struct Fair<T> {
    now: u64,
    /// What was served and is too little for the time to go by.
    spare: u64,
    /// What a party may be owed at most, and owe.
    owed: u64,
    owing: u64,
    /// With when they begin.
    waiting: BTreeMap<Rank, (u64, T)>,
    next: u64,
}

impl<T> Fair<T> {
    /// Begins without anybody. A party may be owed so much at most, and owe so much: what it has waiting beyond that is
    /// not held against it.
    pub fn new(owed: u64, owing: u64) -> Self {
        Self { now: 0, spare: 0, owed, owing, waiting: BTreeMap::new(), next: 0 }
    }

    /// Adds a party, which is owed so much. Whoever begins anew again and again is owed that each time.
    pub fn join(&self, owed: u64) -> Share {
        Share(Cell::new(self.now.saturating_sub(owed)))
    }

    /// Has something wait its party's turn, which is expected to cost so much. What a party has waiting keeps its order
    /// where it is charged for each before the next.
    pub fn push(&mut self, share: &Share, cost: u64, item: T) -> Rank {
        let start = self.start(share);
        let rank = (start + cost, self.next);
        self.next += 1;
        self.waiting.insert(rank, (start, item));
        rank
    }

    /// Takes what is next.
    pub fn pop(&mut self) -> Option<T> {
        let (_, (start, item)) = self.waiting.pop_first()?;
        self.now = self.now.max(start);
        Some(item)
    }

    /// Takes something out of its turn.
    pub fn remove(&mut self, rank: Rank) -> Option<T> {
        self.waiting.remove(&rank).map(|(_, item)| item)
    }

    /// Notes that a party is to pay for something.
    pub fn charge(&self, share: &Share, cost: u64) {
        share.0.set((self.start(share) + cost).min(self.now.saturating_add(self.owing)));
    }

    /// Gives a party back what it paid for something that it did not get.
    pub fn refund(&self, share: &Share, cost: u64) {
        share.0.set(share.0.get().saturating_sub(cost));
    }

    /// Notes that so much was served of what had waited.
    pub fn pass(&mut self, cost: u64) {
        if !self.waiting.is_empty() {
            let (passed, parties) = (self.spare + cost, self.waiting.len() as u64 + 1);
            self.now += passed / parties;
            self.spare = passed % parties;
        }
    }

    /// Serves a party that need not wait, as nobody does.
    pub fn serve(&mut self, share: &Share) {
        self.now = self.now.max(self.start(share));
    }

    /// Lets time go by in which nobody waits.
    pub fn rest(&mut self, time: u64) {
        self.now += time;
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn start(&self, share: &Share) -> u64 {
        self.now.saturating_sub(self.owed).max(share.0.get())
    }
}

#[cfg(test)]
impl<T> Fair<T> {
    pub fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u64 = 10_000;

    /// Parties that want something of such a cost, and as many of it as they may.
    struct Parties {
        fair: Fair<usize>,
        shares: Vec<Share>,
        costs: Vec<u64>,
    }

    impl Parties {
        fn new(costs: Vec<u64>) -> Self {
            let fair = Fair::new(MOST, MOST);
            Self { shares: costs.iter().map(|_| fair.join(0)).collect(), fair, costs }
        }

        fn ask(&mut self, who: usize) -> Rank {
            let rank = self.fair.push(&self.shares[who], self.costs[who], who);
            self.fair.charge(&self.shares[who], self.costs[who]);
            rank
        }

        /// Serves the next, which asks for more at once.
        fn serve(&mut self) -> usize {
            let who = self.fair.pop().unwrap();
            self.fair.pass(self.costs[who]);
            who
        }
    }

    #[test]
    fn who_asks_for_little_goes_before_all_who_ask_for_much() {
        let mut parties = Parties::new([vec![500; 100], vec![10]].concat());
        for who in 0..100 {
            parties.ask(who);
        }
        for round in 0..500 {
            // A hundredth of what is served meanwhile would be 45. At first nobody is owed anything.
            parties.ask(100);
            let served: Vec<_> = (0..10).map(|_| parties.serve()).collect();
            assert!(served[0] == 100 || round < 20, "{round}: {served:?}");
            served.into_iter().filter(|&who| who < 100).for_each(|who| _ = parties.ask(who));
        }
    }

    #[test]
    fn who_asks_for_more_than_there_is_gets_the_same_as_the_others() {
        let mut parties = Parties::new((1..=10).map(|cost| 100 * cost).collect());
        for who in 0..10 {
            parties.ask(who);
        }
        let mut had = [0; 10];
        while had.iter().sum::<u64>() < 1_000_000 {
            let who = parties.serve();
            had[who] += parties.costs[who];
            parties.ask(who);
        }
        assert!(had.iter().all(|had| (98_000..=102_000).contains(had)), "{had:?}");
    }

    #[test]
    fn whoever_has_much_waiting_gets_no_more_for_that() {
        let fair = &mut Fair::new(MOST, u64::MAX / 2);
        let shares: Vec<_> = (0..17).map(|_| fair.join(0)).collect();
        let ask = |fair: &mut Fair<usize>, who: usize| {
            fair.push(&shares[who], 100, who);
            fair.charge(&shares[who], 100);
        };
        for who in 0..16 {
            (0..256).for_each(|_| ask(fair, who));
        }
        ask(fair, 16);
        let mut had = 0;
        for turn in 0..40_000 {
            let who = fair.pop().unwrap();
            fair.pass(100);
            ask(fair, who);
            had += usize::from(who == 16);
            assert!(had >= turn / 17, "{had} of {turn}");
        }
    }

    #[test]
    fn what_is_paid_back_was_never_had() {
        let fair = Fair::<usize>::new(MOST, u64::MAX / 2);
        let shares = [fair.join(0), fair.join(0)];
        fair.charge(&shares[0], 500);
        fair.charge(&shares[1], 700);
        fair.refund(&shares[1], 200);
        assert_eq!(shares[0].0, shares[1].0);
    }

    #[test]
    fn a_party_has_what_it_asked_for_in_its_order() {
        let fair = &mut Fair::new(MOST, u64::MAX / 2);
        let shares = [fair.join(0), fair.join(0), fair.join(0)];
        for number in 0..100 {
            let cost = 1 + number as u64 % 7;
            fair.push(&shares[number % 3], cost, number);
            fair.charge(&shares[number % 3], cost);
        }
        let mut last = [None; 3];
        while let Some(number) = fair.pop() {
            assert!(last[number % 3] < Some(number));
            last[number % 3] = Some(number);
        }
    }

    #[test]
    fn who_was_served_last_comes_behind_who_is_new_and_who_has_slept_before_both() {
        let mut parties = Parties::new(vec![10, 10]);
        for _ in 0..100 {
            parties.ask(0);
            parties.serve();
        }
        let share = parties.fair.join(0);
        let (alone, new, old) = (parties.ask(0), parties.fair.push(&share, 10, 2), parties.ask(1));
        assert!(old.0 < new.0 && new.0 < alone.0);
    }

    #[test]
    fn what_is_taken_out_of_its_turn_is_gone() {
        let mut parties = Parties::new(vec![10]);
        let ranks = [parties.ask(0), parties.ask(0)];
        assert_eq!((parties.fair.remove(ranks[0]), parties.fair.remove(ranks[0])), (Some(0), None));
        assert_eq!((parties.fair.len(), parties.fair.is_empty()), (1, false));
    }

    #[test]
    fn what_is_owed_has_a_bound_both_ways() {
        let mut parties = Parties::new(vec![10, 10]);
        (0..100).for_each(|_| parties.fair.charge(&parties.shares[0], MOST));
        assert_eq!(parties.ask(0), (MOST + 10, 0));
        (0..200).for_each(|_| parties.fair.pass(MOST));
        assert_eq!(parties.ask(1).0, 99 * MOST + 10);
    }
}
