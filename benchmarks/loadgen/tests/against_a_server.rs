//! The whole generator against a server that answers as it is told to.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use tokio::net::TcpListener;
use turnout_loadgen::load;
use turnout_loadgen::messages::Expected;
use turnout_loadgen::options::{Plan, Request};
use turnout_loadgen::report;

/// How the server answers.
#[derive(Clone, Copy)]
enum Answer {
    /// With this message, in two parts.
    Message(&'static [u8]),
    /// With a status and nothing else.
    Status(&'static str),
    /// By resetting the stream.
    Reset,
    /// By closing the connection.
    Close,
}

/// What the server saw.
#[derive(Default)]
struct Seen {
    traces: HashSet<Vec<u8>>,
    units: HashSet<Vec<u8>>,
    messages: HashSet<Vec<u8>>,
    calls: usize,
    connections: usize,
}

fn serve(answer: Answer) -> (SocketAddr, Arc<Mutex<Seen>>) {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let (told, address) = std::sync::mpsc::channel();
    let shared = Arc::clone(&seen);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            told.send(listener.local_addr().unwrap()).unwrap();
            while let Ok((socket, _)) = listener.accept().await {
                shared.lock().unwrap().connections += 1;
                tokio::task::spawn_local(connection(socket, answer, Arc::clone(&shared)));
            }
        });
    });
    (address.recv().unwrap(), seen)
}

async fn connection(socket: tokio::net::TcpStream, answer: Answer, seen: Arc<Mutex<Seen>>) {
    let Ok(mut connection) = h2::server::handshake(socket).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let seen = Arc::clone(&seen);
        if matches!(answer, Answer::Close) {
            return;
        }
        tokio::task::spawn_local(async move {
            let (head, mut body) = request.into_parts();
            let mut message = Vec::new();
            while let Some(Ok(part)) = body.data().await {
                let _ = body.flow_control().release_capacity(part.len());
                message.extend_from_slice(&part);
            }
            {
                let mut seen = seen.lock().unwrap();
                seen.calls += 1;
                seen.traces.insert(head.headers["traceparent"].as_bytes().to_vec());
                seen.units.insert(head.headers["x-turnout-unit"].as_bytes().to_vec());
                seen.messages.insert(message);
            }
            let response = Response::builder().header("content-type", "application/grpc");
            match answer {
                Answer::Message(message) => {
                    let mut stream = respond.send_response(response.body(()).unwrap(), false).unwrap();
                    let mut frame = vec![0, 0, 0, 0, u8::try_from(message.len()).unwrap()];
                    frame.extend_from_slice(message);
                    let rest = frame.split_off(6);
                    stream.send_data(Bytes::from(frame), false).unwrap();
                    stream.send_data(Bytes::from(rest), false).unwrap();
                    let mut trailers = HeaderMap::new();
                    trailers.insert("grpc-status", "0".parse().unwrap());
                    stream.send_trailers(trailers).unwrap();
                }
                Answer::Status(status) => {
                    respond.send_response(response.header("grpc-status", status).body(()).unwrap(), true).unwrap();
                }
                Answer::Reset => respond.send_reset(h2::Reason::CANCEL),
                Answer::Close => unreachable!(),
            }
        });
    }
}

fn plan(address: SocketAddr, expected: Option<&'static [u8]>) -> Plan {
    let expected =
        || expected.map(|contents| Expected { field: 6, contents: Bytes::from_static(contents), nearly: false });
    let request = |frame: &'static [u8]| Request { frame: Bytes::from_static(frame), expected: expected() };
    Plan {
        target: address.to_string(),
        method: "some.Service/Method".into(),
        requests: vec![request(b"\0\0\0\0\x01a"), request(b"\0\0\0\0\x01b")],
        callers: 4,
        rate: None,
        connections: 2,
        threads: 1,
        measured: Duration::from_millis(200),
        warmup: Duration::from_millis(50),
        units: None,
        sampled: 0.0,
        fixed: false,
        pid: Some(std::process::id()),
    }
}

const ANSWER: &[u8] = b"\x0a\x01m\x32\x03abc";

#[test]
fn each_call_is_its_own_and_right_answers_count() {
    let (address, seen) = serve(Answer::Message(ANSWER));
    let plan = plan(address, Some(b"abc"));
    let found = load::run(&plan).unwrap();
    let seen = seen.lock().unwrap();
    assert!(found.tally.errors.is_empty(), "{:?}", found.tally.errors);
    assert!(found.tally.answers > 0 && found.tally.answers == found.tally.calls);
    assert!(found.tally.answers < seen.calls as u64, "the warm-up counts");
    assert_eq!((seen.traces.len(), seen.units.len()), (seen.calls, seen.calls));
    assert_eq!((seen.messages.len(), seen.connections), (2, 2));
    assert_eq!(found.tally.sent, 6 * found.tally.calls);
    assert_eq!(found.tally.received, 13 * found.tally.calls);
    let line = report::as_json(&plan, &found);
    assert!(line.starts_with("{\"answers_per_s\": ") && line.contains("\"server_cpu_us\": "), "{line}");
}

#[test]
fn what_is_no_right_answer_is_an_error_by_its_code() {
    for (answer, code) in [
        (Answer::Message(b"\x32\x03abd"), "WRONG_ANSWER"),
        (Answer::Message(b"\x0a\x01m"), "WRONG_ANSWER"),
        (Answer::Status("8"), "RESOURCE_EXHAUSTED"),
        (Answer::Reset, "CANCELLED"),
        (Answer::Close, "NO_CONNECTION"),
    ] {
        let (address, _) = serve(answer);
        let found = load::run(&plan(address, Some(b"abc"))).unwrap();
        assert_eq!(found.tally.errors.keys().collect::<Vec<_>>(), [&code]);
        assert_eq!((found.tally.answers, found.tally.latency.count()), (0, 0), "{code}");
    }
}

#[test]
fn a_server_that_is_not_there_is_an_error_too() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let found = load::run(&plan(address, None)).unwrap();
    assert_eq!(found.tally.errors.keys().collect::<Vec<_>>(), [&"NO_CONNECTION"]);
}

#[test]
fn an_open_loop_sends_what_is_due() {
    let (address, seen) = serve(Answer::Message(ANSWER));
    let mut plan = plan(address, None);
    (plan.rate, plan.threads) = (Some(400.0), 2);
    let started = std::time::Instant::now();
    let found = load::run(&plan).unwrap();
    let due = 400.0 * started.elapsed().as_secs_f64() + 2.0;
    let calls = seen.lock().unwrap().calls;
    assert!(calls > 0 && calls as f64 <= due, "{calls}, and at most {due} were due");
    assert!(found.tally.errors.is_empty(), "{:?}", found.tally.errors);
}
