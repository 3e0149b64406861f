//! Puts load on the server: closed loops of callers, or calls that are due at their times.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::{JoinSet, LocalSet};

use crate::calls::Calls;
use crate::connection::Connection;
use crate::cpu;
use crate::options::Plan;
use crate::tally::{End, NO_ANSWER, NOT_SENT, Tally, When};

/// How long calls that are under way at the end may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Calls of an open loop that may be under way in one thread; what is due beyond them is not sent.
const MOST_UNDER_WAY: usize = 10_000;

const WARMING_UP: u8 = 0;
const MEASURING: u8 = 1;
const OVER: u8 = 2;

/// What was found.
pub struct Found {
    pub tally: Tally,
    /// How long it measured.
    pub measured: Duration,
    /// What the server's process used in that time, if it was named.
    pub server_cpu: Option<Duration>,
    /// What this process used in that time.
    pub own_cpu: Duration,
}

/// Do what `plan` says.
pub fn run(plan: &Plan) -> Result<Found, String> {
    let phase = Arc::new(AtomicU8::new(WARMING_UP));
    let calls: Vec<Calls> = (0..plan.threads).map(|number| Calls::new(plan, number)).collect::<Result<_, _>>()?;
    if let Some(pid) = plan.pid {
        cpu::used(pid).ok_or_else(|| format!("--pid: there is no process {pid}"))?;
    }
    let threads: Vec<_> = calls
        .into_iter()
        .enumerate()
        .map(|(number, calls)| {
            let (plan, phase) = (plan.clone(), Arc::clone(&phase));
            std::thread::spawn(move || in_thread(&plan, number, calls, phase))
        })
        .collect();
    std::thread::sleep(plan.warmup);
    let (server, own, started) = (plan.pid.and_then(cpu::used), cpu::own(), Instant::now());
    phase.store(MEASURING, Ordering::Relaxed);
    std::thread::sleep(plan.measured);
    phase.store(OVER, Ordering::Relaxed);
    let measured = started.elapsed();
    let own_cpu = cpu::own().saturating_sub(own);
    let after = plan.pid.and_then(cpu::used);
    let server_cpu = server.and_then(|before| Some(after?.saturating_sub(before)));
    let mut tally = Tally::default();
    for thread in threads {
        tally.merge(&thread.join().map_err(|_| "a thread has failed")??);
    }
    Ok(Found { tally, measured, server_cpu, own_cpu })
}

/// One thread's share of the load.
fn in_thread(plan: &Plan, number: usize, calls: Calls, phase: Arc<AtomicU8>) -> Result<Tally, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("no event loop: {error}"))?;
    let connections = share(plan.connections, plan.threads, number);
    let load = Rc::new(Load {
        calls: RefCell::new(calls),
        connections: (0..connections).map(|_| Connection::new(&plan.target)).collect(),
        tally: RefCell::default(),
        phase,
        under_way: Cell::new(0),
    });
    LocalSet::new().block_on(&runtime, async {
        match plan.rate {
            Some(rate) => open_loop(&load, rate / plan.threads as f64, number as f64 / rate).await,
            None => closed_loop(&load, share(plan.callers, plan.threads, number)).await,
        }
    });
    Ok(load.tally.take())
}

/// Return how many of `all` are for thread `number`.
fn share(all: usize, threads: usize, number: usize) -> usize {
    all / threads + usize::from(number < all % threads)
}

struct Load {
    calls: RefCell<Calls>,
    connections: Vec<Connection>,
    tally: RefCell<Tally>,
    phase: Arc<AtomicU8>,
    under_way: Cell<usize>,
}

impl Load {
    fn phase(&self) -> u8 {
        self.phase.load(Ordering::Relaxed)
    }

    /// Make one call on connection `number`, and count it as one that was due at `due`.
    async fn call(&self, number: usize, due: Instant) {
        let sent_within = self.phase() == MEASURING;
        let call = self.calls.borrow_mut().make();
        self.under_way.set(self.under_way.get() + 1);
        let end = self.connections[number % self.connections.len()].call(call).await;
        self.under_way.set(self.under_way.get() - 1);
        let when = When { sent_within, ended_within: self.phase() == MEASURING };
        self.tally.borrow_mut().add(end, due.elapsed(), when);
    }

    /// Count a call that has not ended, or was not even sent.
    fn count(&self, code: &'static str) {
        let when = When { sent_within: false, ended_within: self.phase() == MEASURING };
        self.tally.borrow_mut().add(End { code, sent: 0, received: 0 }, Duration::ZERO, when);
    }

    /// Wait for what is under way; what does not end counts as never answered.
    async fn end(&self, mut tasks: JoinSet<()>) {
        let _ = tokio::time::timeout(PATIENCE, async { while tasks.join_next().await.is_some() {} }).await;
        for _ in 0..self.under_way.get() {
            self.count(NO_ANSWER);
        }
    }
}

/// Callers that each send the next call when the last is answered.
async fn closed_loop(load: &Rc<Load>, callers: usize) {
    let mut tasks = JoinSet::new();
    for number in 0..callers {
        let load = Rc::clone(load);
        tasks.spawn_local(async move {
            while load.phase() != OVER {
                load.call(number, Instant::now()).await;
            }
        });
    }
    while load.phase() != OVER {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    load.end(tasks).await;
}

/// `rate` calls a second, the first after `offset_s` seconds; latency counts from when a call was due.
async fn open_loop(load: &Rc<Load>, rate: f64, offset_s: f64) {
    let (sender, mut dues) = mpsc::unbounded_channel();
    let phase = Arc::clone(&load.phase);
    // A thread's sleep ends within some 50 µs of its time; the event loop's clock has milliseconds.
    let pacer = std::thread::spawn(move || pace(rate, offset_s, &phase, &sender));
    let mut tasks = JoinSet::new();
    let mut number = 0;
    while let Some(due) = dues.recv().await {
        while tasks.try_join_next().is_some() {}
        if load.under_way.get() >= MOST_UNDER_WAY {
            load.count(NOT_SENT);
            continue;
        }
        let load = Rc::clone(load);
        tasks.spawn_local(async move { load.call(number, due).await });
        number += 1;
    }
    load.end(tasks).await;
    let _ = pacer.join();
}

/// Say when each call is due, when it is.
fn pace(rate: f64, offset_s: f64, phase: &AtomicU8, dues: &mpsc::UnboundedSender<Instant>) {
    let started = Instant::now() + Duration::from_secs_f64(offset_s);
    for number in 0_u64.. {
        let due = started + Duration::from_secs_f64(number as f64 / rate);
        loop {
            if phase.load(Ordering::Relaxed) == OVER {
                return;
            }
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
        if dues.send(due).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_come_to_all() {
        for (all, threads) in [(8, 3), (1, 1), (2, 2), (5, 4)] {
            assert_eq!((0..threads).map(|number| share(all, threads, number)).sum::<usize>(), all);
        }
    }
}
