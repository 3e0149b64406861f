//! How often a peer may do what costs us and brings nothing.

use std::time::Instant;

/// A bucket of tokens that fills at a steady rate. The clock is handed in.
#[derive(Debug)]
pub struct Budget {
    rate: f64,
    burst: f64,
    tokens: f64,
    filled_at: Option<Instant>,
}

impl Budget {
    /// Begins full. `rate` tokens come in a second; there may be `burst`.
    pub fn new(rate: f64, burst: f64) -> Self {
        Self { rate, burst, tokens: burst, filled_at: None }
    }

    /// Takes one token; returns false when there is none.
    pub fn spend(&mut self, now: Instant) -> bool {
        self.spend_some(now, 1.0)
    }

    /// Takes so many tokens; returns false when there are not as many, and takes none.
    pub fn spend_some(&mut self, now: Instant, count: f64) -> bool {
        if let Some(before) = self.filled_at {
            let passed = now.saturating_duration_since(before).as_secs_f64();
            self.tokens = (self.tokens + passed * self.rate).min(self.burst);
        }
        self.filled_at = Some(now);
        if self.tokens < count {
            return false;
        }
        self.tokens -= count;
        true
    }

    /// Returns how many tokens had gone when one was last taken.
    #[cfg(test)]
    pub fn spent(&self) -> f64 {
        self.burst - self.tokens
    }

    /// Puts so many tokens back, as far as there may be any.
    pub fn earn_some(&mut self, count: f64) {
        self.tokens = (self.tokens + count).min(self.burst);
    }

    /// Puts one token back, for something useful that was done.
    pub fn earn(&mut self) {
        self.earn_some(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_burst_is_free_and_then_the_rate_holds() {
        let start = Instant::now();
        let mut budget = Budget::new(2.0, 3.0);
        assert_eq!([true, true, true, false], [0; 4].map(|_| budget.spend(start)));
        assert!(!budget.spend(start + Duration::from_millis(400)));
        assert!(budget.spend(start + Duration::from_millis(500)));
        assert!(!budget.spend(start + Duration::from_millis(500)));
    }

    #[test]
    fn what_is_earned_can_be_spent_and_no_more_than_the_burst() {
        let now = Instant::now();
        let mut budget = Budget::new(0.0, 2.0);
        budget.earn();
        assert!(budget.spend(now) && budget.spend(now) && !budget.spend(now));
        budget.earn();
        assert!(budget.spend(now) && !budget.spend(now));
    }
}
