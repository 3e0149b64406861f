//! Streams whose messages are answered here, several at once and in their order.
//!
//! The call is Python's all the same: it lets it in and counts it, so nothing is read before it has asked for a message.
//! What of the messages is declined goes to Python too, which has one answer for each. The twin, for streams that Python
//! answers alone, is `rpc/open_inference/in_order.py`.

use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;

use crate::call::{Head, Outcome, Unary};
use crate::net::bridge::{Handle, Reply};
use crate::net::carry::{Call, plain, unpanicked};
use crate::net::ends::Over;
use crate::net::message::{Broken, Message};
use crate::net::python::{SENT_EVERY, begin};
use crate::net::shard::Shard;
use crate::net::status::{self, OK, Status};
use crate::spans::Parent;

/// Messages that may be under way, or have an answer that the client has not taken.
const MOST: usize = 16;
/// Bytes of them; the message that passes this is the last that is read, so that one of any size is answered.
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// Answers a stream.
pub async fn answers<U: Unary>(call: &mut Call<U>, head: Head) -> Result<(), Over> {
    let mut handle = begin(call, head.clone(), None);
    let parent = match call.ends.race(&mut call.answer, handle.reply()).await? {
        Reply::More(parent) => parent,
        Reply::End(status) if status.code != OK => return Err(Over::Status(status)),
        Reply::End(_) | Reply::Answer(_) | Reply::Send(_) => return Ok(call.answer.ok()?),
    };
    let (answerer, ended) = Answerer::new(call.shard.clone(), head, parent);
    Stream { call, handle, answerer, ended, under_way: UnderWay::default(), left: Left::new(), reading: true }
        .run()
        .await
}

/// A stream under way.
struct Stream<'a, U: Unary> {
    call: &'a mut Call<U>,
    handle: Handle,
    answerer: Answerer<U>,
    /// What was answered here, by its number; None where that panicked.
    ended: UnboundedReceiver<(u64, Option<Outcome>)>,
    under_way: UnderWay,
    left: Left,
    /// Whether there may be more messages.
    reading: bool,
}

enum Next {
    Reply(Reply),
    Ended(u64, Option<Outcome>),
    Message(Result<Option<Message>, Broken>),
}

impl<U: Unary> Stream<'_, U> {
    async fn run(mut self) -> Result<(), Over> {
        loop {
            while let Some(said) = self.under_way.pop() {
                match said {
                    Said::Here(message) => self.send(message).await?,
                    Said::Python(data) => self.pass_on(data).await?,
                    Said::End(status) if status.code == OK => return Ok(self.call.answer.ok()?),
                    Said::End(status) => return Err(Over::Status(status)),
                }
            }
            if !self.reading && self.under_way.is_empty() {
                self.left.say_half_closed(&self.handle);
            }
            match self.next().await? {
                Next::Reply(reply) => self.hear(reply),
                Next::Ended(number, outcome) => self.settle(number, outcome),
                Next::Message(Ok(Some(message))) => self.take(message).await?,
                Next::Message(Ok(None)) => self.reading = false,
                Next::Message(Err(broken)) => return Err(broken.into()),
            }
        }
    }

    async fn next(&mut self) -> Result<Next, Over> {
        let Self { call, handle, ended, under_way, reading, .. } = self;
        let Call { ends, answer, reader, .. } = &mut **call;
        let work = async {
            tokio::select! {
                biased;
                reply = handle.reply() => Next::Reply(reply),
                Some((number, outcome)) = ended.recv() => Next::Ended(number, outcome),
                message = reader.next(), if *reading && under_way.has_room() => Next::Message(message),
            }
        };
        ends.race(answer, work).await
    }

    async fn take(&mut self, message: Message) -> Result<(), Over> {
        let call = &mut *self.call;
        let plain = plain(message, call.encoding, &call.shard.settings, &self.answerer.head.path);
        let message = call.ends.race(&mut call.answer, plain).await??;
        let _task = self.answerer.begin(self.under_way.next(), message.clone());
        self.under_way.push(message.len(), Stage::Here { _task, message });
        Ok(())
    }

    fn settle(&mut self, number: u64, outcome: Option<Outcome>) {
        let said = match outcome {
            Some(Outcome::Answer(message)) => Said::Here(message),
            Some(Outcome::Declined) => {
                return self.leave(number);
            }
            Some(Outcome::Refused(error)) => Said::End(status::status_of(&error)),
            None => Said::End(status::internal()),
        };
        self.under_way.answer(number, said);
    }

    /// Leaves a message to Python; where that has said its last word, the stream ends in the message's place.
    fn leave(&mut self, number: u64) {
        let Some(message) = self.under_way.leave(number) else { return };
        match self.left.keep(number, message) {
            Ok(()) => self.left.hand_over(&self.handle),
            Err(status) => self.under_way.answer(number, Said::End(status)),
        }
    }

    fn hear(&mut self, reply: Reply) {
        match reply {
            Reply::More(_) => {
                self.left.wanted = true;
                self.left.hand_over(&self.handle);
            }
            Reply::Send(data) | Reply::Answer(data) => {
                if let Some(number) = self.left.there.pop_front() {
                    self.under_way.answer(number, Said::Python(data));
                }
            }
            Reply::End(status) => {
                self.left.over = Some(status.clone());
                if let Some(number) = self.left.first() {
                    // In its place: what came before is answered.
                    self.under_way.answer(number, Said::End(status));
                } else {
                    // Python does not know yet that there is nothing more, and so nothing that it could refuse.
                    let all_said = !self.reading && !self.left.said_half_closed;
                    let status = if all_said { Status::new(OK, "") } else { status };
                    self.reading = false;
                    self.under_way.push(0, Stage::Answered(Said::End(status)));
                }
            }
        }
    }

    async fn send(&mut self, message: Bytes) -> Result<(), Over> {
        let Call { ends, answer, connection, .. } = &mut *self.call;
        let _unsent = connection.unsent(message.len());
        ends.send(answer.send_message(message), || true).await
    }

    async fn pass_on(&mut self, data: Bytes) -> Result<(), Over> {
        let Call { ends, answer, connection, .. } = &mut *self.call;
        let (handle, size) = (&self.handle, data.len());
        let _unsent = connection.unsent(size);
        ends.send(answer.send(data), || handle.ended()).await?;
        self.left.sent += size;
        if self.left.sent >= SENT_EVERY {
            handle.sent(std::mem::take(&mut self.left.sent));
        }
        Ok(())
    }
}

/// Has messages answered here, each by a task of its own.
struct Answerer<U: Unary> {
    shard: Rc<Shard<U>>,
    head: Rc<Head>,
    parent: Option<Rc<Parent>>,
    ended: UnboundedSender<(u64, Option<Outcome>)>,
}

impl<U: Unary> Answerer<U> {
    /// Makes one, and what is told of the ends.
    fn new(
        shard: Rc<Shard<U>>,
        head: Head,
        parent: Option<Box<Parent>>,
    ) -> (Self, UnboundedReceiver<(u64, Option<Outcome>)>) {
        let (ended, ends) = unbounded_channel();
        (Self { shard, head: head.into(), parent: parent.map(Rc::from), ended }, ends)
    }

    fn begin(&self, number: u64, message: Bytes) -> Task {
        let Self { shard, head, parent, ended } = self;
        let (shard, head, parent, ended) = (shard.clone(), head.clone(), parent.clone(), ended.clone());
        let answering = async move {
            let outcome = unpanicked(shard.unary.answer_one(&head, parent.as_deref(), &message)).await;
            let _ = ended.send((number, outcome)); // where nobody hears, the stream is over
        };
        Task(tokio::task::spawn_local(answering).abort_handle())
    }
}

/// A task that ends when this is dropped.
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What is said in a message's place.
#[derive(Debug, PartialEq)]
enum Said {
    /// An answer without a prefix.
    Here(Bytes),
    /// Python's, behind its prefix.
    Python(Bytes),
    /// The stream's end.
    End(Status),
}

/// What a message has come to.
enum Stage {
    /// It is being answered here.
    Here {
        _task: Task,
        message: Bytes,
    },
    /// Python has it, or is to have it.
    Python,
    Answered(Said),
}

struct Slot {
    /// Bytes of the message, or of its answer where those are more.
    nbytes: usize,
    stage: Stage,
}

/// The messages under way, in their order.
#[derive(Default)]
struct UnderWay {
    slots: VecDeque<Slot>,
    nbytes: usize,
    /// The number of the first.
    first: u64,
}

impl UnderWay {
    fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    fn has_room(&self) -> bool {
        self.slots.len() < MOST && self.nbytes < MOST_BYTES
    }

    /// Returns the number of the next message.
    fn next(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    fn push(&mut self, nbytes: usize, stage: Stage) {
        self.nbytes += nbytes;
        self.slots.push_back(Slot { nbytes, stage });
    }

    /// Leaves a message to Python, and returns it.
    fn leave(&mut self, number: u64) -> Option<Bytes> {
        match std::mem::replace(&mut self.slot(number)?.stage, Stage::Python) {
            Stage::Here { message, .. } => Some(message),
            _ => None,
        }
    }

    fn answer(&mut self, number: u64, said: Said) {
        let size = match &said {
            Said::Here(answer) | Said::Python(answer) => answer.len(),
            Said::End(_) => 0,
        };
        let Some(slot) = self.slot(number) else { return };
        let more = size.saturating_sub(slot.nbytes);
        slot.nbytes += more;
        slot.stage = Stage::Answered(said);
        self.nbytes += more;
    }

    /// Takes what is to be said next, once it is known.
    fn pop(&mut self) -> Option<Said> {
        let first = self.slots.pop_front()?;
        let Stage::Answered(said) = first.stage else {
            self.slots.push_front(first);
            return None;
        };
        self.nbytes -= first.nbytes;
        self.first += 1;
        Some(said)
    }

    fn slot(&mut self, number: u64) -> Option<&mut Slot> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.slots.get_mut(index)
    }
}

/// What Python has to do with the messages.
struct Left {
    /// Whether it waits for one.
    wanted: bool,
    /// Those that it has not asked for yet.
    waiting: VecDeque<(u64, Bytes)>,
    /// The numbers of those that it has, and answers in this order.
    there: VecDeque<u64>,
    /// Bytes of its that were sent, of which it has not heard.
    sent: usize,
    said_half_closed: bool,
    /// Its last word, once it has said that: messages may be declined later, and it takes none any more.
    over: Option<Status>,
}

impl Left {
    /// Begins when the first message is wanted.
    fn new() -> Self {
        Self {
            wanted: true,
            waiting: VecDeque::new(),
            there: VecDeque::new(),
            sent: 0,
            said_half_closed: false,
            over: None,
        }
    }

    /// Returns the number of the first that it has not answered.
    fn first(&self) -> Option<u64> {
        self.there.front().or(self.waiting.front().map(|(number, _)| number)).copied()
    }

    /// Keeps a message until it is asked for; fails with Python's last word where it will ask for none.
    fn keep(&mut self, number: u64, message: Bytes) -> Result<(), Status> {
        if let Some(status) = &self.over {
            return Err(status.clone());
        }
        self.waiting.push_back((number, message));
        Ok(())
    }

    fn hand_over(&mut self, handle: &Handle) {
        if self.wanted
            && let Some((number, message)) = self.waiting.pop_front()
        {
            self.wanted = false;
            self.there.push_back(number);
            handle.message(message);
        }
    }

    fn say_half_closed(&mut self, handle: &Handle) {
        if !std::mem::replace(&mut self.said_half_closed, true) {
            handle.half_closed();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(under_way: &mut UnderWay, message: &'static [u8]) -> u64 {
        let number = under_way.next();
        let _task = Task(tokio::spawn(std::future::pending::<()>()).abort_handle());
        under_way.push(message.len(), Stage::Here { _task, message: Bytes::from_static(message) });
        number
    }

    fn answer(text: &'static [u8]) -> Said {
        Said::Here(Bytes::from_static(text))
    }

    #[tokio::test]
    async fn answers_wait_for_those_before_them() {
        let mut under_way = UnderWay::default();
        let numbers = [(); 3].map(|()| here(&mut under_way, b"m"));
        assert_eq!(numbers, [0, 1, 2]);
        under_way.answer(2, answer(b"third"));
        assert_eq!(under_way.leave(1), Some(Bytes::from_static(b"m")));
        assert_eq!(under_way.pop(), None);
        under_way.answer(0, answer(b"first"));
        assert_eq!(under_way.pop(), Some(answer(b"first")));
        assert_eq!((under_way.pop(), here(&mut under_way, b"m")), (None, 3));
        under_way.answer(0, answer(b"late")); // of one that is over
        under_way.answer(1, Said::Python(Bytes::from_static(b"second")));
        assert_eq!(under_way.pop(), Some(Said::Python(Bytes::from_static(b"second"))));
        assert_eq!((under_way.pop(), under_way.pop()), (Some(answer(b"third")), None));
        assert!(!under_way.is_empty());
    }

    #[tokio::test]
    async fn there_is_room_for_so_many_and_for_so_many_bytes() {
        static LARGE: [u8; MOST_BYTES - 1] = [0; MOST_BYTES - 1];
        let mut under_way = UnderWay::default();
        for _ in 0..MOST {
            assert!(under_way.has_room());
            here(&mut under_way, b"");
        }
        assert!(!under_way.has_room());
        under_way.answer(0, answer(b""));
        under_way.pop();
        assert!(under_way.has_room());
        under_way.answer(1, answer(&LARGE)); // an answer that is not read takes its room too
        assert!(under_way.has_room());
        under_way.answer(2, answer(b"x"));
        assert!(!under_way.has_room());
        under_way.pop();
        assert!(under_way.has_room());
        under_way.pop();
        assert_eq!(under_way.nbytes, 0);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_ends() {
        let mut under_way = UnderWay::default();
        let task = tokio::spawn(std::future::pending::<()>());
        under_way.push(0, Stage::Here { _task: Task(task.abort_handle()), message: Bytes::new() });
        drop(under_way);
        assert!(task.await.unwrap_err().is_cancelled());
    }

    #[test]
    fn python_answers_in_the_order_in_which_it_got_them() {
        let mut left = Left::new();
        assert_eq!(left.first(), None);
        left.waiting.push_back((4, Bytes::new()));
        assert_eq!(left.first(), Some(4));
        left.there.push_back(3);
        assert_eq!(left.first(), Some(3));
    }

    #[test]
    fn what_is_declined_after_pythons_last_word_is_where_the_stream_ends() {
        let mut left = Left::new();
        assert_eq!(left.keep(0, Bytes::new()), Ok(()));
        left.over = Some(status::going());
        assert_eq!(left.keep(1, Bytes::new()), Err(status::going()));
        assert_eq!((left.waiting.len(), left.first()), (1, Some(0)));
    }
}
