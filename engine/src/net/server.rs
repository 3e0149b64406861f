//! The threads of a server, and how others speak to them.

use std::io;
use std::net::TcpListener;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::LocalSet;

use crate::call::Unary;
use crate::cores::Cores;
use crate::memory::Memory;
use crate::net::bridge::{Bridge, Reply};
use crate::net::events::Events;
use crate::net::lag::Lag;
use crate::net::quota::Quotas;
use crate::net::shard::{Common, Order, Shard, most_connections};
use crate::net::tally::Tally;
use crate::net::{Methods, Settings};

/// How long the acceptor waits where there are no file descriptors left.
const OUT_OF_FILES: Duration = Duration::from_millis(50);
/// Threads of a shard in which large messages are inflated.
const INFLATERS: usize = 1;

/// A shard, as other threads have it.
struct Remote {
    orders: UnboundedSender<Order>,
    open: Arc<AtomicUsize>,
}

/// Threads that carry calls. They end some time after this is dropped, or closed.
pub struct Server {
    shards: Arc<[Remote]>,
    events: Arc<Events>,
    tally: Arc<Tally>,
    lag: Arc<Lag>,
    memory: Arc<Memory>,
    listeners: UnboundedSender<TcpListener>,
    accepting: watch::Sender<bool>,
}

impl Server {
    /// Starts the threads. `make(i)` is called on the thread of shard `i`, and returns its native answerer.
    pub fn start<U: Unary>(
        settings: Settings,
        methods: Methods,
        cores: &Arc<Cores>,
        make: impl Fn(usize) -> U + Send + Clone + 'static,
    ) -> io::Result<Self> {
        let events = Arc::new(Events::new(settings.urgent.clone())?);
        let methods = Arc::new(methods);
        let count = settings.shards.max(1);
        let memory = Arc::new(Memory::new(settings.memory_bytes, count * most_connections(&settings)));
        let quotas = Arc::new(Quotas::new(settings.quotas.clone()));
        let common = Common { memory: memory.clone(), quotas, ..Common::default() };
        let living = Arc::new(AtomicUsize::new(count));
        let mut shards = Vec::with_capacity(count);
        for index in 0..count {
            let (orders, inbox) = unbounded_channel();
            let open = Arc::new(AtomicUsize::new(0));
            shards.push(Remote { orders, open: open.clone() });
            let (make, settings, methods) = (make.clone(), settings.clone(), methods.clone());
            let (events, living, common) = (events.clone(), living.clone(), common.clone());
            let (runtime, cores) = (reactor(cores)?, cores.clone());
            thread::Builder::new().name(format!("turnout-{index}")).spawn(move || {
                let _at_work = cores.work();
                let _ended = Ended { living, events: events.clone() };
                let bridge = Bridge::new(events, index, count);
                run(runtime, inbox, || Shard::new(settings, methods, make(index), bridge, open, common));
            })?;
        }
        let shards: Arc<[Remote]> = shards.into();
        let (listeners, arriving) = unbounded_channel();
        let (accepting, stopping) = watch::channel(true);
        let (runtime, choice) = (builder().build()?, shards.clone());
        thread::Builder::new()
            .name("turnout-accept".to_owned())
            .spawn(move || runtime.block_on(LocalSet::new().run_until(accept_all(arriving, stopping, choice))))?;
        Ok(Self { shards, events, tally: common.tally, lag: common.lag, memory, listeners, accepting })
    }

    /// Takes connections on a socket that listens; it is duplicated.
    pub fn listen(&self, fd: RawFd) -> io::Result<()> {
        let listener = crate::net::sockets::listener(fd)?;
        self.listeners.send(listener).map_err(|_| io::Error::from(io::ErrorKind::NotConnected))
    }

    /// What happens to calls that Python answers.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Says something to a call; one that is over does not hear it.
    pub fn reply(&self, id: u64, reply: Reply) {
        self.tell(&self.shards[Bridge::shard_of(id, self.shards.len())], Order::Reply(id, reply));
    }

    /// What has come of connections and calls, and how late reactors were, by names.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.tally.all().chain(self.lag.all())
    }

    /// What callers make the process hold.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.shards.iter().map(|shard| shard.open.load(Ordering::Relaxed)).sum()
    }

    /// Takes no connections any more, and tells every client to go elsewhere with new calls.
    pub fn drain(&self) {
        self.accepting.send_replace(false);
        for shard in self.shards.iter() {
            self.tell(shard, Order::Drain);
        }
    }

    /// Ends every call in progress, and the connections: at once, or when their answers have been read, for which there
    /// is so much time. `Event::Closed` comes last.
    pub fn close(&self, time: Duration) {
        self.accepting.send_replace(false);
        for shard in self.shards.iter() {
            self.tell(shard, Order::Close(time));
        }
    }

    fn tell(&self, shard: &Remote, order: Order) {
        let _ = shard.orders.send(order); // it fails where the shard has ended
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close(Duration::ZERO);
    }
}

/// Tells Python when the last shard has ended, however it did: it waits for that.
struct Ended {
    living: Arc<AtomicUsize>,
    events: Arc<Events>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        if self.living.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.events.close();
        }
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new_current_thread();
    builder.enable_io().enable_time().max_blocking_threads(INFLATERS);
    builder
}

/// Makes a shard's, which is at work but where it waits.
fn reactor(cores: &Arc<Cores>) -> io::Result<Runtime> {
    let (waits, goes_on) = (cores.clone(), cores.clone());
    builder().on_thread_park(move || waits.leave()).on_thread_unpark(move || goes_on.enter()).build()
}

/// Runs one shard on its thread.
fn run<U: Unary>(runtime: Runtime, inbox: UnboundedReceiver<Order>, make: impl FnOnce() -> Shard<U>) {
    let local = LocalSet::new();
    // Inside, since what answers natively may have tasks of its own.
    local.block_on(&runtime, async move { Rc::new(make()).run(inbox).await });
    drop(local); // with calls that have not heard yet that their client has gone
    runtime.shutdown_background();
}

/// Accepts on every listener that comes, until told to stop.
async fn accept_all(
    mut arriving: UnboundedReceiver<TcpListener>,
    mut stopping: watch::Receiver<bool>,
    shards: Arc<[Remote]>,
) {
    let accept_some = async {
        while let Some(listener) = arriving.recv().await {
            if let Ok(listener) = tokio::net::TcpListener::from_std(listener) {
                tokio::task::spawn_local(accept(listener, shards.clone()));
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = accept_some => {}
        _ = stopping.wait_for(|accepting| !accepting) => {}
    }
}

async fn accept(listener: tokio::net::TcpListener, shards: Arc<[Remote]>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let (Some(shard), Ok(stream)) =
                    (shards.iter().min_by_key(|shard| shard.open.load(Ordering::Relaxed)), stream.into_std())
                else {
                    continue;
                };
                shard.open.fetch_add(1, Ordering::Relaxed);
                let _ = shard.orders.send(Order::Connection(stream, peer));
            }
            // A client that has gone already is its own matter; out of files, waiting is all that helps.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => tokio::time::sleep(OUT_OF_FILES).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::net::{Event, Nothing};

    #[test]
    fn shards_that_panic_have_ended_too() {
        let settings = Settings { shards: 2, ..Settings::least() };
        let server = Server::start(settings, Methods::new(), &Arc::default(), |index| {
            assert!(index > 1, "of a test");
            Nothing::default()
        });
        let (server, begun) = (server.unwrap(), Instant::now());
        let mut events = Vec::new();
        while events.is_empty() && begun.elapsed() < Duration::from_secs(20) {
            events.extend(server.events().take(9));
            thread::yield_now();
        }
        assert!(matches!(events[..], [Event::Closed]));
    }
}
