//! Requests that run together, and how each is told what came of it.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::plane::Plane;
use super::record::Timing;
use super::run::{Ended, Runs};
use super::servable::Hold;
use crate::batch::Ns;
use crate::batch::batcher::Batch;
use crate::batch::waiting::Item;
use crate::oip::Prepared;
use crate::spans::Span;

/// What waits: enough to run it, and to say how that went.
pub struct Load {
    /// Which of this shard's requests it is.
    pub number: u64,
    pub servable: Hold,
    pub prepared: Prepared,
    pub input_ns: Ns,
    pub span: Option<Arc<Span>>,
    pub done: oneshot::Sender<Ended>,
}

impl Runs for Load {
    fn prepared(&self) -> &Prepared {
        &self.prepared
    }

    fn is_wanted(&self) -> bool {
        !self.done.is_closed()
    }
}

/// A batch that is due.
pub struct Due {
    /// By `Item::room`.
    pub rows: u64,
    /// When each came.
    pub offered: Vec<Ns>,
    pub loads: Vec<Load>,
}

impl From<Batch<Load>> for Due {
    fn from(batch: Batch<Load>) -> Self {
        let rows = batch.items.iter().map(Item::room).sum();
        let (offered, loads) = batch.items.into_iter().map(|item| (item.offered, item.load)).unzip();
        Self { rows, offered, loads }
    }
}

impl Due {
    /// Returns whose it is; None for one of nothing.
    pub fn servable(&self) -> Option<Hold> {
        self.loads.first().map(|first| first.servable.clone())
    }

    /// Tells each request how it ended.
    pub fn tell(self, ended: Vec<Ended>) {
        for ((load, offered), mut ended) in self.loads.into_iter().zip(self.offered).zip(ended) {
            ended.timing.queue = ended.timing.started.saturating_sub(offered);
            ended.timing.input += load.input_ns;
            let _ = load.done.send(ended); // its caller may have gone
        }
    }

    /// Records its runs: one of all requests, or one of each that ran.
    pub fn trace(&self, plane: &Plane, ended: &[Ended]) {
        if plane.spans.is_none() {
            return;
        }
        // Of two after one another, each has begun at a moment of its own; what did not run, at none.
        let one = ended.iter().all(|each| each.timing.started == ended[0].timing.started);
        let each = if one { self.loads.len().max(1) } else { 1 };
        for (loads, ended) in self.loads.chunks(each).zip(ended.chunks(each)) {
            if ended[0].timing.started > 0 {
                trace(plane, loads.iter().filter_map(|load| load.span.as_ref()), &ended[0].timing);
            }
        }
    }
}

/// Records a run of requests, as far as those are recorded.
pub fn trace<'a>(plane: &Plane, requests: impl Iterator<Item = &'a Arc<Span>> + Clone, timing: &Timing) {
    if let Some(spans) = &plane.spans
        && requests.clone().next().is_some()
    {
        spans.ran(requests.map(|span| &**span), timing, plane.epoch_offset());
    }
}
