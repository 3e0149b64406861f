//! How fast a message has to come.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::net::status::{self, Status};

/// Bytes of a message that have to come in each second beyond the time that every message has.
const SLOWEST: usize = 1024;
/// The same of one that has room which others of its connection may wait for.
const SLOWEST_WITH_ROOM: usize = 64 * 1024;

/// How fast a message has to come.
pub struct Pace {
    time: Duration,
    slowest: usize,
    received: usize,
    due: Option<Instant>,
}

impl Pace {
    pub fn new(time: Duration) -> Self {
        Self { time, slowest: SLOWEST, received: 0, due: None }
    }

    /// Begins anew, as it was others' that the message could not come; now it is others that wait for it.
    pub fn have_room(&mut self) {
        *self = Self { slowest: SLOWEST_WITH_ROOM, ..Self::new(self.time) };
    }

    /// So many bytes of the message have come.
    pub fn received(&mut self, size: usize) {
        self.received += size;
    }

    /// Waits for what comes next, as long as the message may take with what has come of it.
    pub async fn keep<F: Future>(&mut self, next: Pin<&mut F>) -> Result<F::Output, Status> {
        let due = async {
            // Only who has to wait looks at the clock.
            let begun = *self.due.get_or_insert_with(Instant::now);
            sleep_until(begun + self.time + Duration::from_secs((self.received / self.slowest) as u64)).await;
        };
        tokio::select! {
            biased;
            output = next => Ok(output),
            () = due => Err(status::unfinished()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_message_has_so_long_and_its_bytes_a_second_a_kilobyte() {
        let seconds = Duration::from_secs;
        let mut pace = Pace::new(seconds(30));
        for (kilobytes, comes_after, in_time) in [(0, 29, true), (0, 2, false), (5, 4, true), (0, 2, false)] {
            pace.received(kilobytes * 1024);
            let next = pin!(tokio::time::sleep(seconds(comes_after)));
            assert_eq!(pace.keep(next).await.is_ok(), in_time, "{kilobytes} {comes_after}");
        }
        pace.have_room();
        for (kilobytes, comes_after, in_time) in [(0, 29, true), (63, 2, false), (65, 1, true), (63, 2, false)] {
            pace.received(kilobytes * 1024);
            let next = pin!(tokio::time::sleep(seconds(comes_after)));
            assert_eq!(pace.keep(next).await.is_ok(), in_time, "{kilobytes} {comes_after} with room");
        }
    }
}
