//! Who waits for a run in a thread. When the last of them has left, the run is ended: it would only heat the machine.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::ort::RunOptions;

/// The callers of one run.
struct Audience {
    options: Arc<RunOptions>,
    /// Those who still wait.
    there: Cell<usize>,
}

/// The audiences of the runs under way, by request.
#[derive(Default)]
pub struct Audiences {
    by_request: RefCell<HashMap<u64, Rc<Audience>>>,
}

impl Audiences {
    /// Has the run with `options` watched by `requests`.
    pub fn gather(&self, options: &Arc<RunOptions>, requests: impl ExactSizeIterator<Item = u64>) {
        let audience = Rc::new(Audience { options: options.clone(), there: Cell::new(requests.len()) });
        self.by_request.borrow_mut().extend(requests.map(|request| (request, audience.clone())));
    }

    /// Notes that a request is over, which may have run in a thread or not; or that it was `abandoned` before.
    pub fn leave(&self, request: u64, abandoned: bool) {
        let Some(audience) = self.by_request.borrow_mut().remove(&request) else { return };
        if abandoned {
            audience.there.set(audience.there.get() - 1);
            if audience.there.get() == 0 {
                audience.options.terminate();
            }
        }
    }
}
