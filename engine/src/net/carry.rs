//! A call, from its head to its status.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::Request;

use crate::call::{Outcome, Present, Unary};
use crate::memory::Held;
use crate::net::answer::Answer;
use crate::net::cutter::Message;
use crate::net::ends::{Ends, Over};
use crate::net::head::{Opening, Refusal, opening};
use crate::net::inflate::{Encoding, inflated};
use crate::net::python;
use crate::net::reader::{Broken, Reader};
use crate::net::shard::Shard;
use crate::net::state::{Counted, State};
use crate::net::status::{self, Status};
use crate::net::tally::Told;
use crate::net::{Settings, stream};

/// A call that its client resets earlier, as counted from its message on, was no work.
const WORK_TIME: Duration = Duration::from_millis(10);
/// What a call takes until it is over, besides its fields and its message.
const CALL: usize = 6 * 1024;
/// What a counted value of a message takes once it is read, in bytes: protobuf makes no more of any.
const VALUE: usize = 32;
/// What a call costs that is not answered here, in nanoseconds as estimated and beyond its head.
const ELSEWHERE: u64 = 20_000;
/// Compressed messages of so few bytes are taken apart at once where no more than that comes out; others elsewhere.
const INFLATED_AT_ONCE: usize = 128 * 1024;
/// Messages may be inflated to so many bytes however few were sent: zeros, of which tensors have many, shrink to a
/// thousandth.
const INFLATED_FREELY: usize = 4 * 1024 * 1024;

/// Begins one call of a connection's, or refuses it. What only the head says is looked at here and now: a client whose
/// heads are of no use has none of them kept.
pub fn begin<U: Unary>(
    shard: &Rc<Shard<U>>,
    connection: &Rc<State>,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
) {
    let counted = connection.enter();
    let mut answer = Answer::new(respond, shard.settings.headers_first);
    // h2 sees to the streams. Calls that are reset linger for a moment even where all is well, and a client that asks anew
    // at once is not to blame for that; so there may be as many of those again.
    if connection.calls() + connection.lingering.get() > 2 * shard.settings.connection_calls {
        shard.tally.add(Told::ResetByServer);
        return answer.reset(Reason::REFUSED_STREAM);
    }
    let (parts, body) = request.into_parts();
    // Where a client has gone while it is refused, that is its own matter.
    let opening = match opening(&parts, &shard.methods, &connection.peer, Instant::now()) {
        Ok(opening) => opening,
        Err(refusal) => {
            if let Refusal::Status(Status { told: Some(told), .. }) = refusal {
                shard.tally.add(told);
            }
            return drop(answer.refuse(&refusal));
        }
    };
    if connection.crowded() {
        shard.tally.add(Told::Unread);
        return drop(answer.status(&status::crowded()));
    }
    let Some(held) = connection.account.take(CALL + opening.size) else {
        shard.tally.add(Told::Memory);
        return drop(answer.status(&status::memory_full()));
    };
    let mut call = Call {
        ends: Ends::new(shard.ending.clone(), opening.head.deadline, connection.account.clone()),
        reader: Reader::new(body, shard.settings.max_message_bytes, connection, shard.settings.request_time),
        encoding: opening.encoding,
        answer,
        connection: connection.clone(),
        shard: shard.clone(),
        _held: held,
    };
    let unary = &shard.unary;
    if !unary.takes(&opening.head.path) {
        connection.spend(ELSEWHERE);
    }
    if opening.streaming.client {
        // What has come with its head lies there already.
        call.ends.watch(call.reader.watch(connection));
        tokio::task::spawn_local(call.listen(opening, counted));
        return;
    }
    let present = unary.takes(&opening.head.path).then(|| unary.company().enter());
    tokio::task::spawn_local(call.carry(opening, present, counted));
}

/// A stream's first message, with what is held for it; None where it ended without any.
pub type First = Option<(Message, Held)>;

/// A call that is carried.
pub struct Call<U: Unary> {
    pub ends: Ends,
    pub reader: Reader,
    pub encoding: Encoding,
    pub answer: Answer,
    pub connection: Rc<State>,
    pub shard: Rc<Shard<U>>,
    _held: Held,
}

impl<U: Unary> Call<U> {
    #[expect(clippy::manual_async_fn, reason = "its parameters would be there twice, in what is moved about")]
    fn carry(mut self, opening: Opening, present: Option<Present>, counted: Counted) -> impl Future<Output = ()> {
        async move {
            let _counted = counted;
            let end = self.run(opening, present).await;
            self.end(end);
        }
    }

    /// Carries a stream. Until its first message is whole nobody hears of it and it is kept small: it costs nothing to
    /// open one and say no more.
    #[expect(clippy::manual_async_fn, reason = "its parameters would be there twice, in what is moved about")]
    fn listen(mut self, opening: Opening, counted: Counted) -> impl Future<Output = ()> {
        async move {
            let _counted = counted;
            let head = opening.head;
            let end = match self.first().await {
                Ok(first) if self.shard.unary.takes_messages(&head) => {
                    Box::pin(stream::answers(&mut self, head, first)).await
                }
                Ok(first) => Box::pin(python::conversation(&mut self, head, first)).await,
                Err(over) => Err(over),
            };
            self.end(end);
        }
    }

    /// Waits for a stream's first message, or for its end.
    async fn first(&mut self) -> Result<First, Over> {
        let first = {
            let silence = pin!(self.shard.silences.over());
            let _waiting = self.connection.wait();
            let work = async {
                tokio::select! {
                    biased;
                    message = self.reader.next() => message.map_err(Over::from),
                    () = silence => Err(Over::Status(status::silent())),
                }
            };
            self.ends.race(&mut self.answer, pin!(work)).await??
        };
        Ok(first.map(|message| (message, self.reader.take_held())))
    }

    fn end(&mut self, end: Result<(), Over>) {
        if was_work(&end, || self.reader.whole_for()) {
            self.connection.worked();
        }
        match end {
            Ok(()) | Err(Over::Gone) => {}
            Err(Over::Status(status)) => {
                if let Some(told) = status.told {
                    self.shard.tally.add(told);
                }
                drop(self.answer.status(&status));
            }
        }
    }

    /// `present`: where the call will be offered to the native handler.
    async fn run(&mut self, opening: Opening, present: Option<Present>) -> Result<(), Over> {
        let Opening { head, streaming, .. } = opening;
        let waiting = self.connection.wait();
        let only = only(&mut self.reader, self.encoding, &self.shard.settings, &head.path);
        let message = self.ends.race(&mut self.answer, pin!(only)).await??;
        drop(waiting);
        // Its head may have come long before, and the connection's other answers lie unread since.
        if self.connection.crowded() {
            return Err(Over::Status(status::crowded()));
        }
        if streaming.server {
            return Box::pin(python::answers(self, head, message)).await;
        }
        if present.is_some() {
            let outcome = {
                let answering = pin!(self.shard.unary.answer(&head, &message));
                self.ends.race(&mut self.answer, pin!(unpanicked(answering))).await?
            };
            match outcome {
                Some(Outcome::Answer(answer)) => return self.answer_with(answer).await,
                Some(Outcome::Refused(error)) => return Err(Over::Status(status::status_of(&error))),
                Some(Outcome::Declined) => {}
                None => return Err(Over::Status(status::internal())),
            }
        }
        drop(present);
        Box::pin(python::unary(self, head, message)).await
    }

    async fn answer_with(&mut self, message: Bytes) -> Result<(), Over> {
        let _unsent = self.connection.answer(message.len()).ok_or_else(status::memory_full)?;
        Ok(self.answer.answer(message).await?)
    }
}

/// Says whether a call was more than something to reset: it was answered, or refused after its message had come; or it
/// was reset when we had worked on that for a while. Then who resets calls as fast as they can has no more of them than
/// that time allows with so many at once, however many calls are whole; and a server that is late ends no connection.
fn was_work(end: &Result<(), Over>, whole_for: impl Fn() -> Option<Duration>) -> bool {
    match end {
        Ok(()) => true,
        Err(Over::Status(_)) => whole_for().is_some(),
        Err(Over::Gone) => whole_for().is_some_and(|time| time >= WORK_TIME),
    }
}

/// Returns the message of a client that has to send exactly one, as `plain` does.
async fn only(reader: &mut Reader, encoding: Encoding, settings: &Settings, path: &str) -> Result<Bytes, Broken> {
    plain(reader.only().await?, encoding, settings, path, reader).await
}

/// Returns a message to `path` as it was before it was compressed, and within all bounds.
pub async fn plain(
    message: Message,
    encoding: Encoding,
    settings: &Settings,
    path: &str,
    reader: &mut Reader,
) -> Result<Bytes, Broken> {
    let Message { compressed, payload } = message;
    let message = if compressed { taken_apart(payload, encoding, settings, reader).await? } else { payload };
    let values = settings.bounds.check(path, &message)?;
    if values > 0 {
        reader.hold(values * VALUE)?;
    }
    Ok(message)
}

/// Inflates a message. That may take long, so it is done elsewhere.
async fn taken_apart(
    payload: Bytes,
    encoding: Encoding,
    settings: &Settings,
    reader: &mut Reader,
) -> Result<Bytes, Status> {
    let (most, ratio) = (settings.max_message_bytes, settings.bounds.ratio);
    let limit = most.min(payload.len().saturating_mul(ratio).max(INFLATED_FREELY));
    let told = |refused: Status| match refused.code {
        status::RESOURCE_EXHAUSTED if limit < most && refused.told != Some(Told::Memory) => status::too_dense(ratio),
        _ => refused,
    };
    if payload.len() <= INFLATED_AT_ONCE {
        let some = limit.min(INFLATED_AT_ONCE);
        let before = reader.held();
        match inflated(&payload, encoding, some, |size| reader.hold_in_all(before + size)) {
            Ok(message) => return Ok(message.into()),
            Err(refused) if refused.told == Some(Told::Memory) => return Err(refused),
            Err(refused) if some == limit || refused.code != status::RESOURCE_EXHAUSTED => return Err(told(refused)),
            Err(_) => {}
        }
        reader.hold_in_all(before);
    }
    let mut loan = reader.loan();
    let work = move || (inflated(&payload, encoding, limit, |size| loan.grow_to(size)), loan);
    match tokio::task::spawn_blocking(work).await {
        Ok((Ok(message), loan)) => {
            reader.keep(loan);
            Ok(message.into())
        }
        Ok((Err(refused), _)) => Err(told(refused)),
        Err(_) => Err(status::internal()),
    }
}

/// Returns what a native handler does, or None where it panics: that is its call's end, and no other's.
pub async fn unpanicked(mut answering: Pin<&mut impl Future<Output = Outcome>>) -> Option<Outcome> {
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| answering.as_mut().poll(cx))) {
        Ok(Poll::Ready(outcome)) => Poll::Ready(Some(outcome)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(_) => Poll::Ready(None),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_was_work_if_it_was_answered_or_took_a_while() {
        let expired = || Err(Over::Status(status::expired()));
        let (gone, short) = (|| Err(Over::Gone), WORK_TIME / 2);
        for (end, whole_for, work) in [
            (Ok(()), None, true),
            (expired(), Some(short), true),
            (expired(), None, false),
            (gone(), Some(WORK_TIME), true),
            (gone(), Some(short), false),
            (gone(), None, false),
        ] {
            assert_eq!(was_work(&end, || whole_for), work, "{end:?} {whole_for:?}");
        }
    }
}
