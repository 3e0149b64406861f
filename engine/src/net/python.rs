//! Calls that Python answers.

use std::pin::pin;

use bytes::Bytes;

use crate::call::{Head, Unary};
use crate::net::bridge::{Handle, Reply};
use crate::net::carry::{Call, First, plain};
use crate::net::cutter::Message;
use crate::net::ends::Over;
use crate::net::reader::Broken;
use crate::net::status::{self, OK};

/// What a call takes in Python, besides its message.
const IN_PYTHON: usize = 12 * 1024;
/// Python hears of what was sent when it is so many bytes; it waits when twice as many have not been.
pub const SENT_EVERY: usize = 32 * 1024;

/// One message each way.
pub async fn unary<U: Unary>(call: &mut Call<U>, head: Head, message: Bytes) -> Result<(), Over> {
    let mut handle = begin(call, head, Some(message))?;
    loop {
        match call.ends.race(&mut call.answer, pin!(handle.reply())).await? {
            Reply::Answer(data) => {
                let _unsent = call.connection.unsent(data.len());
                return Ok(call.answer.answer_framed(data).await?);
            }
            Reply::End(status) => return Err(Over::Status(status)),
            Reply::Send(_) | Reply::More(_) => {} // there is nothing of the kind in such a call
        }
    }
}

/// One message in, any number out.
pub async fn answers<U: Unary>(call: &mut Call<U>, head: Head, message: Bytes) -> Result<(), Over> {
    let mut handle = begin(call, head, Some(message))?;
    let mut sent = 0;
    loop {
        let reply = call.ends.race(&mut call.answer, pin!(handle.reply())).await?;
        if said(call, &handle, reply, &mut sent).await? == Said::All {
            return Ok(());
        }
    }
}

/// Any number of messages each way, with one answer for each as all such methods have it: until it has come, the client's
/// silence is none. All messages but the first are read when they are asked for.
pub async fn conversation<U: Unary>(call: &mut Call<U>, head: Head, first: First) -> Result<(), Over> {
    let path = head.path.clone();
    let mut handle = begin(call, head, None)?;
    let (mut sent, mut wanted, mut under_way) = (0, false, 0_usize);
    let mut first = Some(first);
    loop {
        let next = {
            let reader = &mut call.reader;
            let first = &mut first;
            let message = async {
                match first.take() {
                    Some(Some((message, held))) => {
                        reader.take_back(held);
                        Ok(Some(message))
                    }
                    Some(None) => Ok(None),
                    None => reader.next().await,
                }
            };
            let (connection, silences) = (&call.connection, &call.shard.silences);
            let silence = async {
                let _waiting = connection.wait();
                silences.over().await;
            };
            let work = async {
                tokio::select! {
                    biased;
                    reply = handle.reply() => Next::Reply(reply),
                    message = message, if wanted => Next::Message(message),
                    () = silence, if wanted && under_way == 0 => Next::Silent,
                }
            };
            call.ends.race(&mut call.answer, pin!(work)).await?
        };
        match next {
            Next::Reply(Reply::More(_)) => wanted = true,
            Next::Reply(reply) => {
                if let Reply::Send(_) = reply {
                    under_way = under_way.saturating_sub(1);
                }
                if said(call, &handle, reply, &mut sent).await? == Said::All {
                    return Ok(());
                }
            }
            Next::Message(Ok(Some(message))) => {
                let plain = plain(message, call.encoding, &call.shard.settings, &path, &mut call.reader);
                let message = call.ends.race(&mut call.answer, pin!(plain)).await??;
                wanted = false;
                under_way += 1;
                call.reader.hold(message.len())?; // Python's copy
                handle.message(message, Some(call.reader.take_held()));
            }
            Next::Message(Ok(None)) => {
                wanted = false;
                handle.half_closed();
            }
            Next::Message(Err(broken)) => return Err(broken.into()),
            Next::Silent => return Err(Over::Status(status::silent())),
        }
    }
}

/// Tells Python of a call, if there is memory for what that has of it. Of one that its client has reset already it never
/// hears.
pub fn begin<U: Unary>(call: &mut Call<U>, head: Head, message: Option<Bytes>) -> Result<Handle, Over> {
    if call.answer.is_gone() {
        return Err(Over::Gone);
    }
    let taken = call.shard.quotas.take(&head.path).map_err(status::full)?;
    call.reader.hold(IN_PYTHON + message.as_ref().map_or(0, Bytes::len))?;
    let begun = call.shard.bridge.begin(head, message, &call.connection, call.reader.take_held(), taken);
    begun.ok_or_else(|| Over::Status(status::too_many_calls()))
}

enum Next {
    Reply(Reply),
    Message(Result<Option<Message>, Broken>),
    Silent,
}

#[derive(PartialEq)]
enum Said {
    Some,
    All,
}

/// Does what Python says to a call that has many answers.
async fn said<U: Unary>(call: &mut Call<U>, handle: &Handle, reply: Reply, sent: &mut usize) -> Result<Said, Over> {
    match reply {
        Reply::Send(data) => {
            let size = data.len();
            let _unsent = call.connection.unsent(size);
            call.ends.send(pin!(call.answer.send(data)), || handle.ended()).await?;
            *sent += size;
            if *sent >= SENT_EVERY {
                handle.sent(std::mem::take(sent));
            }
            Ok(Said::Some)
        }
        Reply::Answer(data) => {
            call.answer.answer_framed(data).await?;
            Ok(Said::All)
        }
        Reply::End(status) if status.code == OK => {
            call.answer.ok()?;
            Ok(Said::All)
        }
        Reply::End(status) => Err(Over::Status(status)),
        Reply::More(_) => Ok(Said::Some),
    }
}
