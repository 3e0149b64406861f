//! A batch that runs in a thread: handed over by its shard, watched over by time, and given back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout_at;

use super::audience::Audiences;
use super::due::Due;
use super::plane::{Finished, Nudge, Outcome, Plane};
use super::run;
use super::servable::Hold;
use crate::ort::RunOptions;

/// Has a thread run a batch of shard number `shard`, which hears of its end as `Nudge::Finished`. The run is one of those
/// that `audiences` can end.
pub fn hand_over(plane: &Arc<Plane>, shard: usize, due: Due, audiences: &Audiences) {
    let Some(servable) = due.servable() else { return };
    let options = servable.session.run_options().ok().map(Arc::new);
    if let Some(options) = &options {
        audiences.gather(options, due.loads.iter().map(|load| load.number));
    }
    let (under_way, over) = oneshot::channel::<()>();
    if let Some(options) = options.clone() {
        tokio::task::spawn_local(end_in_time(servable.clone(), options, over));
    }
    let (plane, at_work, rows) = (plane.clone(), plane.cores.work(), due.rows);
    plane.clone().threads.submit(move || {
        let hold = Some(servable.clone());
        let under_way = Some(under_way);
        let mut freed = Freed { plane: plane.clone(), shard, hold, rows, outcome: None, under_way };
        let _at_work = at_work; // until just before the shard hears of it
        let (ended, runs) = run::execute(&servable, &due.loads, options.as_deref(), |instant| plane.at(instant));
        if let Some(options) = &options {
            options.finish();
        }
        freed.outcome = Some(Outcome { due, ended, runs });
    });
}

/// Ends a run that takes longer than its version's may. It is `over` when the other end of that is dropped.
///
/// A batch that fails is run again one by one, and each of these runs has as long.
async fn end_in_time(servable: Hold, options: Arc<RunOptions>, mut over: oneshot::Receiver<()>) {
    let may_take = Duration::from_nanos(servable.settings.run_timeout_ns);
    let mut until = Instant::now() + may_take;
    while timeout_at(until.into(), &mut over).await.is_err() {
        let now = Instant::now();
        until = options.began().unwrap_or(now) + may_take; // it may wait for a thread
        if until <= now {
            // One that nobody waits for has been ended already; of one that is over this shard has yet to hear.
            if !options.terminated() && !options.finished() {
                servable.note_timed_out();
                options.terminate();
            }
            return;
        }
    }
}

/// Gives a run thread back when the run is over, however it ended.
///
/// All that its shard has to know of it goes there at once: each time that a reactor is woken by another thread costs both.
struct Freed {
    plane: Arc<Plane>,
    shard: usize,
    hold: Option<Hold>,
    rows: u64,
    /// None where it panicked: those who wait are told so as their loads go.
    outcome: Option<Outcome>,
    under_way: Option<oneshot::Sender<()>>,
}

impl Drop for Freed {
    fn drop(&mut self) {
        if let (Some(hold), Some(under_way)) = (self.hold.take(), self.under_way.take()) {
            let id = hold.settings.id;
            let finished = Finished { hold, rows: self.rows, outcome: self.outcome.take(), under_way };
            self.plane.nudge(self.shard, Nudge::Finished(Box::new(finished)));
            self.plane.thread_freed(id);
        }
    }
}
