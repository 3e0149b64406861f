//! A call, as those see it who answer it.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::error::Error;
use crate::metadata::Metadata;
use crate::spans::Parent;

/// What stands before the first message.
#[derive(Clone, Debug)]
pub struct Head {
    /// `package.Service/Method`, without a leading slash.
    pub path: Arc<str>,
    /// One value of each name.
    pub metadata: Metadata,
    /// HOST:PORT of the caller.
    pub peer: Arc<str>,
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
}

impl Head {
    /// Returns the value of a metadata key in lower case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.metadata.get(name)
    }
}

/// Who else is there: the calls and the streams' messages on one shard that are, or will be, offered to a native handler.
/// They count from their heads on, so that the first of those that came at once knows of the others.
#[derive(Clone, Default)]
pub struct Company(Rc<Cell<usize>>);

impl Company {
    /// Counts one as long as what is returned lives.
    pub fn enter(&self) -> Present {
        self.0.set(self.0.get() + 1);
        Present(self.0.clone())
    }

    /// Says whether there is one at most.
    pub fn is_one(&self) -> bool {
        self.0.get() <= 1
    }
}

/// One of a company.
pub struct Present(Rc<Cell<usize>>);

impl Drop for Present {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// How a native handler ends a unary call, or a stream's message, that it was given.
pub enum Outcome {
    /// With one message.
    Answer(Bytes),
    /// With a status.
    Refused(Error),
    /// Not at all: Python has to. Nothing was counted, recorded or run, and it is said before anything is waited for: a
    /// stream's messages are to come to Python in their order.
    Declined,
}

/// Answers unary calls of one shard, and streams' messages, without Python. Lives on the shard's thread.
///
/// Dropping a future cancels what it answers: the caller has gone, the deadline has passed, or the server ends.
pub trait Unary: 'static {
    /// Returns the shard's company, which its calls are to enter.
    fn company(&self) -> &Company;

    /// Says whether calls of this path are offered to `answer` at all.
    fn takes(&self, path: &str) -> bool;

    /// Answers `message`, which is whole and not compressed.
    fn answer(&self, head: &Head, message: &Bytes) -> impl Future<Output = Outcome>;

    /// Says whether messages of the stream that begins so are offered to `answer_one`, each as it comes.
    fn takes_messages(&self, head: &Head) -> bool;

    /// Answers one message of a stream with one. `parent` is the call's span, which is Python's, if that is recorded.
    fn answer_one(&self, head: &Head, parent: Option<&Parent>, message: &Bytes) -> impl Future<Output = Outcome>;
}
