//! What the shards and Python share: what is served now, who may come in, and what has ended.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use serde::Deserialize;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::copies::Copies;
use super::due::Due;
use super::record::{Ledger, Run};
use super::run::Ended;
use super::servable::{Hold, Servable};
use super::tally;
use super::threads::Threads;
use super::watch::Watch;
use crate::batch::Ns;
use crate::batch::admission::{Bounds, Room};
use crate::batch::shares::{Id, Place, Shares};
use crate::cores::Cores;
use crate::decide::{Decision, Snapshot};
use crate::mailbox::Mailbox;
use crate::memory::Memory;
use crate::oip::Head;
use crate::spans::{self, Spans};
use crate::turnout_v1::Served;

/// What stands for Python where shards have their numbers.
pub const PYTHON: usize = usize::MAX;

/// What Python's configuration says of inferring.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Calls in progress at once, those that Python has among them.
    pub concurrent_calls: usize,
    pub queue_total_rows: u64,
    pub queue_total_bytes: u64,
    /// Runs in threads at once when one version alone has work, Python's among them.
    pub runs: usize,
    /// Runs in threads at once, whatever happens.
    pub threads: usize,
    /// What this start of the process is called.
    pub boot: String,
    /// How many records may wait for Python; 0 where nobody wants them, but only what they come to.
    pub most_records: usize,
    /// Whether typed requests are to be answered in their own form, as only Python does it.
    pub answers_as_sent: bool,
    /// Copies of requests that may wait for Python, and what these may take.
    pub copies: usize,
    pub copies_bytes: usize,
    /// Inclusive upper bounds of the buckets of requests' durations, in nanoseconds; and of waits and runs.
    pub request_bounds_ns: Vec<Ns>,
    pub run_bounds_ns: Vec<Ns>,
    /// What is traced; None for nothing.
    pub tracing: Option<spans::Settings>,
}

/// What is served at one moment. Never changed: it is swapped as a whole.
pub struct View {
    pub snapshot: Snapshot,
    /// What answers begin with, by the decision's index.
    heads: Vec<Head>,
    /// What typed answers say of it, likewise.
    served: Vec<Served>,
    /// Which version answers, by the decision's index; None for one that Python has not handed over.
    answerers: Vec<Option<Arc<Servable>>>,
    servables: Vec<Arc<Servable>>,
}

impl View {
    /// Makes a view of a snapshot and of the versions that are loaded.
    pub fn new(snapshot: Snapshot, servables: Vec<Arc<Servable>>) -> Self {
        let by_key: HashMap<(&str, i64), &Arc<Servable>> =
            servables.iter().map(|each| ((&*each.settings.model, each.settings.version), each)).collect();
        let decisions = snapshot.decisions();
        let heads = decisions.iter().map(|decision| Head::of(decision)).collect();
        let served = decisions.iter().map(|decision| Served::of(decision)).collect();
        let answerer = |decision: &Arc<Decision>| by_key.get(&(&*decision.model, decision.version)).copied().cloned();
        let answerers = decisions.iter().map(answerer).collect();
        Self { heads, served, answerers, servables, snapshot }
    }

    /// Returns what answers by `decision`, which is of this view, begin with.
    pub fn head(&self, decision: &Decision) -> Option<&Head> {
        self.heads.get(decision.index)
    }

    /// Returns what typed answers say of `decision`, which is of this view.
    pub fn served(&self, decision: &Decision) -> Option<&Served> {
        self.served.get(decision.index)
    }

    /// Returns the version that answers by `decision`, which is of this view.
    pub fn answerer(&self, decision: &Decision) -> Option<&Arc<Servable>> {
        self.answerers.get(decision.index)?.as_ref()
    }

    /// Says whether a version is served.
    pub fn has(&self, id: Id) -> bool {
        self.servables.iter().any(|each| each.settings.id == id)
    }
}

/// What a shard is told of its queues, by the version's number.
pub enum Nudge {
    /// A run counts as started for the version, which wanted one.
    Chosen(Id),
    /// A batch of the version has ended in a thread.
    Finished(Box<Finished>),
}

/// A batch that has ended in a thread.
pub struct Finished {
    pub hold: Hold,
    /// By `Item::room`.
    pub rows: u64,
    /// None where the run panicked.
    pub outcome: Option<Outcome>,
    /// Dropped when the shard has heard of it.
    pub under_way: oneshot::Sender<()>,
}

/// What came of a batch: an answer to each request, and in which runs.
pub struct Outcome {
    pub due: Due,
    pub ended: Vec<Ended>,
    pub runs: Vec<Run>,
}

/// Shared by all shards, and by Python: its bounds are those of the process.
pub struct Plane {
    pub settings: Settings,
    pub ledger: Ledger,
    pub copies: Copies,
    /// None where nothing is traced.
    pub spans: Option<Spans>,
    pub threads: Threads,
    pub cores: Arc<Cores>,
    pub watch: Watch,
    /// What runs take memory from; nothing while nothing carries calls.
    pub memory: Arc<OnceLock<Arc<Memory>>>,
    pub total: Arc<Room>,
    /// Versions of which Python may start a run, each of which counts as started.
    pub chosen: Mailbox<Id>,
    view: ArcSwapOption<View>,
    shares: Mutex<Shares>,
    shards: Mutex<HashMap<usize, UnboundedSender<Nudge>>>,
    /// Calls in progress, here and in Python.
    calls: AtomicUsize,
    /// Those in Python.
    elsewhere: AtomicUsize,
    /// Streams' messages in progress.
    messages: AtomicUsize,
    declined: AtomicU64,
    open: AtomicBool,
    started: Instant,
}

impl Plane {
    /// Makes a plane that serves nothing yet. Its clock counts from `started`.
    pub fn new(settings: Settings, started: Instant) -> io::Result<Self> {
        let bounds = Bounds { rows: settings.queue_total_rows, nbytes: settings.queue_total_bytes };
        let buckets =
            tally::Bounds { request: settings.request_bounds_ns[..].into(), run: settings.run_bounds_ns[..].into() };
        Ok(Self {
            copies: Copies::new(settings.copies, settings.copies_bytes),
            ledger: Ledger::new(buckets, &settings.boot, settings.most_records),
            spans: settings.tracing.clone().map(Spans::new),
            threads: Threads::new(settings.threads),
            cores: Arc::default(),
            watch: Watch::default(),
            memory: Arc::default(),
            total: Arc::new(Room::new(bounds)),
            view: ArcSwapOption::empty(),
            shares: Mutex::new(Shares::new(settings.runs, settings.threads)),
            shards: Mutex::default(),
            chosen: Mailbox::new()?,
            calls: AtomicUsize::new(0),
            elsewhere: AtomicUsize::new(0),
            messages: AtomicUsize::new(0),
            declined: AtomicU64::new(0),
            open: AtomicBool::new(true),
            started,
            settings,
        })
    }

    /// Returns the plane's time.
    pub fn now(&self) -> Ns {
        self.at(Instant::now())
    }

    /// Returns what to add to the plane's clock to get nanoseconds since the epoch.
    pub fn epoch_offset(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        now.wrapping_sub(self.now())
    }

    /// Returns an instant on the plane's clock; 0 for one from before it, and the last for one beyond it.
    pub fn at(&self, instant: Instant) -> Ns {
        Ns::try_from(instant.saturating_duration_since(self.started).as_nanos()).unwrap_or(Ns::MAX)
    }

    /// Returns what is served now; None before Python has said so.
    pub fn view(&self) -> Option<Arc<View>> {
        self.view.load_full()
    }

    /// Serves `view` from now on.
    pub fn serve(&self, view: View) {
        self.view.store(Some(Arc::new(view)));
    }

    /// Takes nobody in any more: Python refuses those who still come.
    pub fn close(&self) {
        self.open.store(false, Relaxed);
    }

    /// Returns how many calls are in progress here.
    pub fn inside(&self) -> usize {
        self.calls.load(Relaxed).saturating_sub(self.elsewhere.load(Relaxed))
    }

    /// Returns how many messages of streams are being answered.
    pub fn messages(&self) -> usize {
        self.messages.load(Relaxed)
    }

    /// Returns how many calls and messages were left to Python.
    pub fn declined(&self) -> u64 {
        self.declined.load(Relaxed)
    }

    /// Notes that a call or a message is left to Python.
    pub fn decline(&self) {
        self.declined.fetch_add(1, Relaxed);
    }

    /// Lets a call in while the result is kept; None where Python has to look at it.
    pub fn enter(self: &Arc<Self>) -> Option<Inside> {
        if !self.open.load(Relaxed) {
            return None;
        }
        self.count_in().then(|| Inside { plane: self.clone(), counter: |plane| &plane.calls })
    }

    /// Counts a call that Python has in; says no where there is no room for it.
    pub fn enter_elsewhere(&self) -> bool {
        let counted = self.count_in();
        if counted {
            self.elsewhere.fetch_add(1, Relaxed);
        }
        counted
    }

    /// Counts a call that Python had out.
    pub fn leave_elsewhere(&self) {
        self.elsewhere.fetch_sub(1, Relaxed);
        self.calls.fetch_sub(1, Relaxed);
    }

    fn count_in(&self) -> bool {
        let counted = self.calls.fetch_add(1, Relaxed) < self.settings.concurrent_calls;
        if !counted {
            self.calls.fetch_sub(1, Relaxed);
        }
        counted
    }

    /// Does the same for a message of a stream: that is part of a call that Python has let in.
    pub fn enter_message(self: &Arc<Self>) -> Option<Inside> {
        if !self.open.load(Relaxed) {
            return None;
        }
        self.messages.fetch_add(1, Relaxed);
        Some(Inside { plane: self.clone(), counter: |plane| &plane.messages })
    }

    /// Returns what divides the run threads.
    pub fn shares(&self) -> MutexGuard<'_, Shares> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has shard number `index` told by `nudges`.
    pub fn join(&self, index: usize, nudges: UnboundedSender<Nudge>) {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner).insert(index, nudges);
    }

    /// Tells a shard.
    pub fn nudge(&self, index: usize, nudge: Nudge) {
        if let Some(shard) = self.shards.lock().unwrap_or_else(PoisonError::into_inner).get(&index) {
            let _ = shard.send(nudge); // a shard that has ended runs nothing any more
        }
    }

    /// Notes that a run of a version is over, and tells those who may start one now.
    pub fn thread_freed(&self, servable: Id) {
        let chosen: Vec<Place> = {
            let mut shares = self.shares();
            shares.finish(servable);
            std::iter::from_fn(|| shares.start_next()).collect()
        };
        for (servable, shard) in chosen {
            match shard {
                PYTHON => self.chosen.push(servable),
                _ => self.nudge(shard, Nudge::Chosen(servable)),
            }
        }
    }
}

/// A call, or a message of a stream, in progress.
pub struct Inside {
    plane: Arc<Plane>,
    counter: fn(&Plane) -> &AtomicUsize,
}

impl Drop for Inside {
    fn drop(&mut self) {
        (self.counter)(&self.plane).fetch_sub(1, Relaxed);
    }
}
