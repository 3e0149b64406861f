//! Streams whose messages are answered here, several at once and in their order.
//!
//! The call is Python's all the same: it lets it in and counts it, so only one message is read before it has asked for any.
//! What of the messages is declined goes to Python too, which has one answer for each. The twin, for streams that Python
//! answers alone, is `rpc/open_inference/in_order.py`.

use std::collections::VecDeque;
use std::pin::pin;
use std::rc::Rc;

use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::call::{Head, Outcome, Unary};
use crate::net::bridge::{Handle, Reply};
use crate::net::carry::{Call, First, plain, unpanicked};
use crate::net::cutter::Message;
use crate::net::ends::Over;
use crate::net::python::{SENT_EVERY, begin};
use crate::net::reader::Broken;
use crate::net::shard::Shard;
use crate::net::status::{self, OK, Status};
use crate::net::under_way::{Said, Stage, Task, UnderWay};
use crate::spans::Parent;

/// Answers a stream whose first message has come.
pub async fn answers<U: Unary>(call: &mut Call<U>, head: Head, first: First) -> Result<(), Over> {
    let mut handle = begin(call, head.clone(), None)?;
    let parent = match call.ends.race(&mut call.answer, pin!(handle.reply())).await? {
        Reply::More(parent) => parent,
        Reply::End(status) if status.code != OK => return Err(Over::Status(status)),
        Reply::End(_) | Reply::Answer(_) | Reply::Send(_) => return Ok(call.answer.ok()?),
    };
    let (answerer, ended) = Answerer::new(call.shard.clone(), head, parent);
    let (under_way, left, reading) = (UnderWay::default(), Left::new(), first.is_some());
    let mut stream = Stream { call, handle, answerer, ended, under_way, left, reading };
    if let Some((message, held)) = first {
        stream.call.reader.take_back(held);
        stream.take(message).await?;
    }
    stream.run().await
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
    Silent,
}

impl<U: Unary> Stream<'_, U> {
    async fn run(mut self) -> Result<(), Over> {
        loop {
            while let Some((said, _unsent)) = self.under_way.pop() {
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
                Next::Silent => return Err(Over::Status(status::silent())),
            }
        }
    }

    async fn next(&mut self) -> Result<Next, Over> {
        let Self { call, handle, ended, under_way, reading, .. } = self;
        let Call { ends, answer, reader, connection, shard, .. } = &mut **call;
        let silence = async {
            let _waiting = connection.wait();
            shard.silences.over().await;
        };
        let is_silent = *reading && under_way.is_empty();
        let work = async {
            tokio::select! {
                biased;
                reply = handle.reply() => Next::Reply(reply),
                Some((number, outcome)) = ended.recv() => Next::Ended(number, outcome),
                message = reader.next(), if *reading && under_way.has_room() => Next::Message(message),
                () = silence, if is_silent => Next::Silent,
            }
        };
        ends.race(answer, pin!(work)).await
    }

    async fn take(&mut self, message: Message) -> Result<(), Over> {
        let call = &mut *self.call;
        let path = &self.answerer.head.path;
        let plain = plain(message, call.encoding, &call.shard.settings, path, &mut call.reader);
        let message = call.ends.race(&mut call.answer, pin!(plain)).await??;
        if call.connection.crowded() {
            self.end(status::crowded());
            return Ok(());
        }
        let task = self.answerer.begin(self.under_way.next(), message.clone());
        let held = call.reader.take_held();
        self.under_way.push(message.len(), Stage::Here(task, message), Some(held));
        Ok(())
    }

    fn settle(&mut self, number: u64, outcome: Option<Outcome>) {
        let said = match outcome {
            Some(Outcome::Answer(message)) => Said::Here(message),
            Some(Outcome::Declined) => return self.leave(number),
            Some(Outcome::Refused(error)) => Said::End(status::status_of(&error)),
            None => Said::End(status::internal()),
        };
        self.say(number, said);
    }

    /// Notes what is to be said in a message's place.
    fn say(&mut self, number: u64, said: Said) {
        let connection = &self.call.connection;
        let (said, unsent) = match connection.answer(said.size()) {
            Some(unsent) => (said, unsent),
            None => (Said::End(status::memory_full()), connection.unsent(0)),
        };
        self.under_way.answer(number, said, unsent);
    }

    /// Ends the stream after all that is under way.
    fn end(&mut self, status: Status) {
        self.reading = false;
        let unsent = self.call.connection.unsent(0);
        self.under_way.push(0, Stage::Answered(Said::End(status), unsent), None);
    }

    /// Leaves a message to Python; where that has said its last word, the stream ends in the message's place.
    fn leave(&mut self, number: u64) {
        let Some(message) = self.under_way.leave(number) else { return };
        match self.left.keep(number, message) {
            Ok(()) => self.left.hand_over(&self.handle),
            Err(status) => self.say(number, Said::End(status)),
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
                    self.say(number, Said::Python(data));
                }
            }
            Reply::End(status) => {
                self.left.over = Some(status.clone());
                if let Some(number) = self.left.first() {
                    // In its place: what came before is answered.
                    self.say(number, Said::End(status));
                } else if !self.reading && !self.left.said_half_closed {
                    // The client has said all, and what is under way is answered here. Python is told only then, and
                    // would refuse what may still come; there is nothing of the kind.
                    self.end(Status::new(OK, ""));
                } else {
                    self.end(status);
                }
            }
        }
    }

    async fn send(&mut self, message: Bytes) -> Result<(), Over> {
        let Call { ends, answer, .. } = &mut *self.call;
        ends.send(pin!(answer.send_message(message)), || true).await
    }

    async fn pass_on(&mut self, data: Bytes) -> Result<(), Over> {
        let Call { ends, answer, .. } = &mut *self.call;
        let (handle, size) = (&self.handle, data.len());
        ends.send(pin!(answer.send(data)), || handle.ended()).await?;
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
        let present = shard.unary.company().enter();
        let answering = async move {
            let _present = present;
            let answering = pin!(shard.unary.answer_one(&head, parent.as_deref(), &message));
            let outcome = unpanicked(answering).await;
            let _ = ended.send((number, outcome)); // where nobody hears, the stream is over
        };
        Task(tokio::task::spawn_local(answering).abort_handle())
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
            handle.message(message, None); // it is held as long as it is under way
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
