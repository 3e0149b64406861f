//! HTTP/2 and gRPC: shards, connections, calls, and what of them Python answers.
//!
//! An acceptor hands sockets to shards, one thread each. A connection is a task of its shard, and so is each call. A call
//! that a native handler takes never leaves its shard; the others go over the `bridge` to Python and come back.

mod answer;
mod authority;
mod bridge;
mod budget;
mod budgets;
mod carry;
mod connection;
mod cutter;
mod ends;
mod events;
mod fair;
mod head;
mod inflate;
mod lag;
mod lane;
mod outbox;
mod pace;
mod python;
mod quota;
mod reader;
mod scanner;
mod server;
mod shard;
mod silence;
mod sockets;
mod state;
mod status;
mod stream;
mod tally;
mod under_way;
mod unread;
mod values;
mod wire;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

pub use bridge::Reply;
pub use cutter::framed;
pub use events::Event;
pub use server::Server;
pub use sockets::listener;
pub use status::{Status, Value, status_of};
pub use tally::Tally;
pub use values::{Bounds, Shape};

/// The parsers of what comes from a socket, for `fuzz/engine`.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    pub use super::authority::Authority;
    pub use super::cutter::{Cutter, Message};
    pub use super::head::{Opening, Refusal, opening};
    pub use super::inflate::{Encoding, inflated};
    pub use super::scanner::{PREFACE, Scanner};
}

use crate::call::{Company, Head, Outcome, Unary};
use crate::spans::Parent;

/// Bytes on a stream before any was taken. A client that has not heard of it yet goes by 65,535.
pub const WINDOW: usize = 256 * 1024;
/// What a server is told once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Threads that carry calls.
    pub shards: usize,
    /// Connections open at once, on all shards together.
    pub max_connections: usize,
    /// The longest message that is taken, in bytes, as sent and when inflated.
    pub max_message_bytes: usize,
    /// What it may come to.
    pub bounds: Arc<Bounds>,
    /// Whether an error has headers of its own before its trailers: some proxies lose a status that comes in headers.
    pub headers_first: bool,
    /// Methods whose calls are every other event that Python hears of, if there are any.
    pub urgent: HashSet<Box<str>>,
    /// How many calls of a method Python may have at once, of those that have a bound of their own.
    pub quotas: HashMap<Box<str>, usize>,
    /// Streams open at once on a connection; twice as many with calls that still run in Python though theirs was reset.
    pub connection_calls: usize,
    /// How long a request may take to come, beyond a second for each KiB of it, or for each 64 KiB if it is longer than a
    /// window. A header block has as long, or twice.
    pub request_time: Duration,
    /// How long a stream's client may say nothing while nothing of its is under way.
    pub silence_time: Duration,
    /// How many streams may be silent at once, on all shards together.
    pub silent_streams: usize,
    /// What all that callers make the process hold may take, in bytes.
    pub memory_bytes: usize,
}

#[cfg(test)]
impl Settings {
    /// One of everything, for tests.
    pub fn least() -> Self {
        Self {
            shards: 1,
            max_connections: 1,
            max_message_bytes: 1,
            bounds: Arc::default(),
            headers_first: false,
            urgent: HashSet::new(),
            quotas: HashMap::new(),
            connection_calls: 1,
            request_time: Duration::from_secs(30),
            silence_time: Duration::from_secs(600),
            silent_streams: 1,
            memory_bytes: usize::MAX / 4,
        }
    }
}

/// Of a method, who may send more than one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streaming {
    pub client: bool,
    pub server: bool,
}

impl Streaming {
    /// Says whether there is one message each way.
    pub fn unary(self) -> bool {
        !self.client && !self.server
    }
}

/// Every method by its path (`package.Service/Method`).
pub type Methods = HashMap<Arc<str>, Streaming>;

/// A native answerer that takes nothing.
#[derive(Default)]
pub struct Nothing(Company);

impl Unary for Nothing {
    fn company(&self) -> &Company {
        &self.0
    }

    fn takes(&self, _path: &str) -> bool {
        false
    }

    async fn answer(&self, _head: &Head, _message: &bytes::Bytes) -> Outcome {
        Outcome::Declined
    }

    fn takes_messages(&self, _head: &Head) -> bool {
        false
    }

    async fn answer_one(&self, _head: &Head, _parent: Option<&Parent>, _message: &bytes::Bytes) -> Outcome {
        Outcome::Declined
    }
}
