//! One thread's share of a server: its connections, and what they need.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::call::Unary;
use crate::memory::{Memory, Purse};
use crate::net::bridge::{Bridge, Reply};
use crate::net::connection::serve;
use crate::net::lag::Lag;
use crate::net::lane::Lane;
use crate::net::quota::Quotas;
use crate::net::silence::Silences;
use crate::net::state::State;
use crate::net::tally::{Tally, Told};
use crate::net::{Methods, Settings};
use crate::ort;

/// What a connection takes, whatever comes on it: its state and h2's, what may come before it is looked at, and what waits
/// to be written.
const CONNECTION: usize = 32 * 1024;

/// What other threads tell a shard.
pub enum Order {
    /// A client has connected.
    Connection(std::net::TcpStream, SocketAddr),
    /// Python has said something to a call.
    Reply(u64, Reply),
    /// Tell every client to go elsewhere with new calls; those on their way are still taken.
    Drain,
    /// End every call in progress, let answers be read for so long, and end.
    Close(Duration),
}

/// Returns how many connections a shard may have.
pub fn most_connections(settings: &Settings) -> usize {
    let most = settings.max_connections.min(Memory::connections(settings.memory_bytes, CONNECTION));
    most.div_ceil(settings.shards.max(1)).max(1)
}

/// How far the server's end has come.
#[derive(Default)]
pub struct Ending {
    draining: Cell<bool>,
    closing: Cell<bool>,
    over: Cell<bool>,
    cancelled: Notify,
}

impl Ending {
    pub fn draining(&self) -> bool {
        self.draining.get()
    }

    /// Says whether calls are cancelled, and what is left to be read is waited for.
    pub fn closing(&self) -> bool {
        self.closing.get()
    }

    /// Says whether nothing is waited for any more.
    pub fn over(&self) -> bool {
        self.over.get()
    }

    /// Waits until calls are cancelled.
    pub fn cancelled(&self) -> impl Future<Output = ()> + '_ {
        let told = self.cancelled.notified();
        async move {
            if !self.closing() {
                told.await;
            }
        }
    }
}

/// What the shards of a server have in common.
#[derive(Clone, Default)]
pub struct Common {
    pub tally: Arc<Tally>,
    pub lag: Arc<Lag>,
    pub quotas: Arc<Quotas>,
    /// How many streams are silent.
    pub silent: Arc<AtomicUsize>,
    pub memory: Arc<Memory>,
}

/// One thread's share of a server.
pub struct Shard<U: Unary> {
    pub settings: Settings,
    pub methods: Arc<Methods>,
    pub unary: U,
    pub bridge: Rc<Bridge>,
    pub ending: Rc<Ending>,
    pub silences: Silences,
    pub quotas: Arc<Quotas>,
    pub tally: Arc<Tally>,
    lag: Arc<Lag>,
    lane: Rc<Lane>,
    purse: Rc<Purse>,
    /// The connections that are open, the oldest first.
    connections: RefCell<BTreeMap<u64, Rc<State>>>,
    next: Cell<u64>,
    most: usize,
    /// How many there are, for those who choose a shard.
    open: Arc<AtomicUsize>,
    changed: Notify,
}

impl<U: Unary> Shard<U> {
    pub fn new(
        settings: Settings,
        methods: Arc<Methods>,
        unary: U,
        bridge: Bridge,
        open: Arc<AtomicUsize>,
        common: Common,
    ) -> Self {
        let silences = Silences::new(settings.silence_time, settings.silent_streams, common.silent);
        let most = most_connections(&settings);
        Self {
            settings,
            methods,
            unary,
            bridge: Rc::new(bridge),
            ending: Rc::default(),
            silences,
            quotas: common.quotas,
            tally: common.tally,
            lag: common.lag,
            lane: Rc::default(),
            purse: Rc::new(Purse::new(common.memory)),
            connections: RefCell::default(),
            next: Cell::new(0),
            most,
            open,
            changed: Notify::new(),
        }
    }

    /// Does what it is told until the server has ended.
    pub async fn run(self: Rc<Self>, mut orders: UnboundedReceiver<Order>) {
        tokio::task::spawn_local(self.lag.clone().watch());
        let lane = self.lane.clone();
        tokio::task::spawn_local(async move { lane.run().await });
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.follow(order),
                    None => return, // whoever had the server has let it go
                },
                () = self.changed.notified() => {}
            }
            if self.ending.closing() && self.connections.borrow().is_empty() {
                return;
            }
        }
    }

    fn follow(self: &Rc<Self>, order: Order) {
        match order {
            Order::Connection(stream, peer) => self.take(stream, peer),
            Order::Reply(id, reply) => self.bridge.reply(id, reply),
            Order::Drain => {
                self.ending.draining.set(true);
                self.wake_all();
            }
            Order::Close(time) => {
                self.ending.draining.set(true);
                self.ending.closing.set(true);
                self.ending.cancelled.notify_waiters();
                self.wake_all();
                tokio::task::spawn_local(self.clone().end_after(time));
            }
        }
    }

    async fn end_after(self: Rc<Self>, time: Duration) {
        tokio::time::sleep(time).await;
        self.ending.over.set(true);
        self.wake_all();
    }

    fn wake_all(&self) {
        for state in self.connections.borrow().values() {
            state.wake();
        }
    }

    /// Begins a connection.
    ///
    /// Each costs a file descriptor, and a server without any can do nothing at all. So when there are as many as may
    /// be, one that brings nothing makes room: one that never began, or else one without calls, whose client only has to
    /// connect again, or else the one that was not heard of for the longest of those whose calls all wait for their client. A
    /// client that opens connections in vain thereby ends its own.
    fn take(self: &Rc<Self>, stream: std::net::TcpStream, peer: SocketAddr) {
        if self.ending.draining() {
            return self.left();
        }
        let mut connections = self.connections.borrow_mut();
        if connections.len() >= self.most {
            let dispensable = connections
                .iter()
                .find(|(_, state)| !state.begun())
                .or_else(|| connections.iter().find(|(_, state)| state.idle()))
                .or_else(|| {
                    let waiting = connections.iter().filter(|(_, state)| state.waits());
                    waiting.min_by_key(|(_, state)| state.heard_at())
                })
                .map(|(&number, _)| number);
            match dispensable.and_then(|number| connections.remove(&number)) {
                Some(state) => {
                    self.tally.add(Told::Evicted);
                    state.end();
                }
                None => {
                    self.tally.add(Told::Refused);
                    return self.left();
                }
            }
        }
        let Ok(stream) = TcpStream::from_std(stream) else { return self.left() };
        self.tally.add(Told::Accepted);
        let (peer, of_python, purse) = (peer.to_string().into(), self.bridge.join(), self.purse.clone());
        let state = State::new(peer, &self.settings, self.tally.clone(), self.lane.clone(), of_python, purse);
        let number = self.next.get();
        self.next.set(number + 1);
        connections.insert(number, state.clone());
        tokio::task::spawn_local(self.clone().keep(number, stream, state));
    }

    async fn keep(self: Rc<Self>, number: u64, stream: TcpStream, state: Rc<State>) {
        let _leaving = Leaving { shard: self.clone(), number };
        serve(stream, state, self).await;
    }

    fn left(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Forgets a connection when it is dropped, however its task ends.
struct Leaving<U: Unary> {
    shard: Rc<Shard<U>>,
    number: u64,
}

impl<U: Unary> Drop for Leaving<U> {
    fn drop(&mut self) {
        self.shard.connections.borrow_mut().remove(&self.number);
        ort::trim_later(); // Python's copies of its messages may have been large
        self.shard.left();
        self.shard.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpSocket;
    use tokio::sync::mpsc::unbounded_channel;
    use tokio::task::LocalSet;
    use tokio::time::sleep;

    use super::*;
    use crate::net::Nothing;
    use crate::net::events::Events;
    use crate::net::scanner::PREFACE;

    const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
    const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0rightnow";
    const GOAWAY: u8 = 7;
    const SMALL: u32 = 4096;

    /// The kinds of the frames in what was read, as far as they are whole.
    fn kinds(mut read: &[u8]) -> Vec<u8> {
        let mut kinds = Vec::new();
        while let Some((&[high, middle, low, kind, ..], rest)) = read.split_at_checked(9)
            && let Some((_, rest)) = rest.split_at_checked(u32::from_be_bytes([0, high, middle, low]) as usize)
        {
            kinds.push(kind);
            read = rest;
        }
        kinds
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_end_a_client_that_reads_slowly_has_all_that_was_said() {
        let bridge = Bridge::new(Arc::new(Events::new(Default::default()).unwrap()), 0, 1);
        let open = Arc::new(AtomicUsize::new(1));
        let shard =
            Rc::new(Shard::new(Settings::least(), Arc::default(), Nothing::default(), bridge, open, Common::default()));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpSocket::new_v4().unwrap();
        client.set_recv_buffer_size(SMALL).unwrap();
        let mut client = client.connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, peer) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        SockRef::from(&stream).set_send_buffer_size(SMALL as usize).unwrap();
        let (orders, inbox) = unbounded_channel();
        let tell = |order| assert!(orders.send(order).is_ok());
        let talk = async {
            tell(Order::Connection(stream, peer));
            client.write_all(&[PREFACE, SETTINGS].concat()).await.unwrap();
            // Until their answers fill both sockets and more.
            for _ in 0..400 {
                client.write_all(&PING.repeat(20)).await.unwrap();
                sleep(Duration::from_millis(10)).await;
            }
            tell(Order::Close(Duration::from_secs(5)));
            sleep(Duration::from_secs(1)).await;
            let mut read = Vec::new();
            let _ = client.read_to_end(&mut read).await; // it may be a reset, of what was not read of ours
            assert_eq!(kinds(&read).last(), Some(&GOAWAY));
        };
        LocalSet::new().run_until(async { tokio::join!(shard.run(inbox), talk) }).await;
    }
}
