//! What ends a call early: its client, its deadline, or the server's end.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::Sleep;

use crate::memory::{Account, Seat};
use crate::net::answer::{Answer, Gone};
use crate::net::reader::Broken;
use crate::net::shard::Ending;
use crate::net::status::{self, Status};
use crate::net::unread::Pile;

/// How a call ends other than by its handler's answer.
#[derive(Debug, PartialEq)]
pub enum Over {
    /// The client has gone, or only this call of its.
    Gone,
    /// With this.
    Status(Status),
}

impl From<Gone> for Over {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl From<Status> for Over {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

impl From<Broken> for Over {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Gone => Self::Gone,
            Broken::Refused(status) => Self::Status(status),
        }
    }
}

/// Watches for the end of one call.
pub struct Ends {
    ending: Rc<Ending>,
    deadline: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    /// What of the call is unread, where that may be its end.
    pile: Option<Rc<Pile>>,
    /// Whose memory it is that the call takes, and where it is found that it has to end for that: once it waits.
    account: Rc<Account>,
    seat: Option<Seat>,
}

impl Ends {
    pub fn new(ending: Rc<Ending>, deadline: Option<Instant>, account: Rc<Account>) -> Self {
        Self { ending, deadline, timer: None, pile: None, account, seat: None }
    }

    /// Ends the call where there is no memory for what is unread of it.
    pub fn watch(&mut self, pile: &Rc<Pile>) {
        self.pile = Some(pile.clone());
    }

    /// Waits for `work`, which is to be dropped where the call ends before. It is pinned where it is: each function that
    /// took one by value would make a call larger by all of it, twice, and calls are moved about.
    pub async fn race<F: Future>(&mut self, answer: &mut Answer, work: Pin<&mut F>) -> Result<F::Output, Over> {
        self.race_with(work, |cx| answer.poll_gone(cx), || false).await
    }

    /// Waits for what is sent, which fails by itself when the client has gone. Where the handler has `ended`, what it
    /// said last is still read when the server ends.
    pub async fn send(
        &mut self,
        sending: Pin<&mut impl Future<Output = Result<(), Gone>>>,
        ended: impl Fn() -> bool,
    ) -> Result<(), Over> {
        Ok(self.race_with(sending, |_| Poll::Pending, ended).await??)
    }

    async fn race_with<F: Future>(
        &mut self,
        mut work: Pin<&mut F>,
        mut gone: impl FnMut(&mut Context<'_>) -> Poll<()>,
        ended: impl Fn() -> bool,
    ) -> Result<F::Output, Over> {
        let Self { ending, deadline, timer, pile, account, seat } = self;
        let mut told = pin!(ending.cancelled());
        let mut cancelled = false;
        poll_fn(|cx| {
            // Work that is done is taken, and most is at once: then nothing else is looked at, or set up.
            if let Poll::Ready(output) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            if gone(cx).is_ready() {
                return Poll::Ready(Err(Over::Gone));
            }
            if pile.as_ref().is_some_and(|pile| pile.poll_over(cx).is_ready()) {
                return Poll::Ready(Err(Over::Status(status::memory_full())));
            }
            if seat.get_or_insert_with(|| account.seat()).poll_over(cx).is_ready() {
                return Poll::Ready(Err(Over::Status(status::memory_full())));
            }
            if let Some(at) = *deadline {
                let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at.into())));
                if timer.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Err(Over::Status(status::expired())));
                }
            }
            cancelled = cancelled || told.as_mut().poll(cx).is_ready();
            if cancelled && !ended() {
                return Poll::Ready(Err(Over::Status(status::going())));
            }
            Poll::Pending
        })
        .await
    }
}
