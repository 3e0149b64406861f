//! What inferring asks of a protocol: how a call's message reads, and how its answer is written.

use std::time::Instant;

use bytes::Bytes;

use super::plane::View;
use crate::call::Head;
use crate::decide::{Ask, Decision, Task};
use crate::error::Error;
use crate::oip::{Output, Prepared, Signature};
use crate::turnout_v1::notes::Notes;

/// What a request without a priority gets.
pub const DEFAULT_LEVEL: u8 = 2;

/// One call's message, read and within all bounds, but not yet held against a signature.
///
/// Whatever Python would refuse, or read in another way, is None: then nothing was counted, and Python reads it again.
pub trait Question {
    /// Returns whom it asks.
    fn ask<'b>(&'b self, head: &'b Head) -> Option<Ask<'b>>;

    /// Returns the request's name by its caller; may be empty.
    fn request_id(&self) -> &str;

    /// Returns when the caller stops waiting, `of_call` being when it does by the call's own head.
    fn deadline(&self, of_call: Option<Instant>, _now: Instant) -> Option<Instant> {
        of_call
    }

    /// Returns the level of its priority, 1 to 10.
    fn level(&self) -> u8 {
        DEFAULT_LEVEL
    }

    /// Says whether what only `prepare` looks into can be read at all, for a request that is refused before that.
    fn is_sound(&self) -> bool {
        true
    }

    /// Returns what whoever answers it has to be for; None where any will do.
    fn task(&self) -> Option<Task> {
        None
    }

    /// Returns the inputs for a version with this signature, and the outputs wanted.
    fn prepare(&self, signature: &Signature) -> Option<Prepared>;

    /// Returns what is odd about the features that `prepare` has made the inputs of; None where they are not counted.
    fn notes(&self, _signature: &Signature) -> Option<Notes> {
        None
    }

    /// Returns why these outputs are no answer to it, though the run went well.
    fn fault(&self, _outputs: &[Output<'_>]) -> Option<Error> {
        None
    }

    /// Says whether protobuf can carry the answer, whose request our records call by so many bytes.
    fn fits(&self, _by: Answerer<'_>, _request_id: usize, _outputs: &[Output<'_>]) -> bool {
        true
    }

    /// Writes the answer; None where there are more bytes than protobuf can carry.
    fn answer(&self, by: Answerer<'_>, request_id: &str, outputs: &[Output<'_>]) -> Option<Bytes>;
}

/// Who answers.
#[derive(Clone, Copy)]
pub struct Answerer<'a> {
    pub view: &'a View,
    pub decision: &'a Decision,
}
