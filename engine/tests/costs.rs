//! What the native path costs a call, without the run. Run it with
//! `cargo test --release --test costs -- --ignored --nocapture`.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use turnout_engine::call::Head;
use turnout_engine::decide::{Ask, Decision, Snapshot, decide};
use turnout_engine::infer::record::{Ledger, OK, Record, Timing, Told};
use turnout_engine::infer::tally::Bounds;
use turnout_engine::journal::encode;
use turnout_engine::metadata::Metadata;
use turnout_engine::oip::wire::{put_bytes, put_varint};
use turnout_engine::oip::{self, InferRequest, Output, Signature, prepare};
use turnout_engine::spans::{End, Settings, Spans, Start};
use turnout_engine::tensor::{DType, Elements};

const SNAPSHOT: &str = r#"{"digest": "d", "routes": [{
    "name": "cost", "task": "tensors", "salt": "salt-2026", "epoch": "e", "mirrors": [], "total": 100, "fallback": 0,
    "targets": [
        {"name": "control", "model": "price", "version": 1, "weight": 75, "propensity": 0.75},
        {"name": "canary", "model": "price", "version": 2, "weight": 25, "propensity": 0.25}
    ],
    "overrides": [{"headers": {"x-qa": "on"}, "units": [], "target": 1}]
}], "models": [{"name": "price", "available": [1, 2], "labels": {"champion": 1}}]}"#;

/// Returns this thread's time on a core, in nanoseconds: neighbours on a busy machine don't count.
fn on_core() -> u64 {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    schedstat.split(' ').next().and_then(|first| first.parse().ok()).expect("a number")
}

fn timed(what: &str, rounds: u32, mut once: impl FnMut(u32)) {
    for warm in 0..rounds / 10 {
        once(warm);
    }
    let best = (0..5).map(|_| {
        let start = on_core();
        (0..rounds).for_each(&mut once);
        (on_core() - start) as f64 / f64::from(rounds)
    });
    println!("{what}: {:.0} ns", best.fold(f64::INFINITY, f64::min));
}

fn request(rows: i64, columns: i64) -> Bytes {
    let (mut message, mut tensor, mut shape, mut entry) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    put_bytes(&mut message, 1, b"cost");
    put_bytes(&mut message, 3, b"request-17");
    put_bytes(&mut entry, 1, b"unit_id");
    put_bytes(&mut entry, 2, b"\x1a\x0acustomer17");
    put_bytes(&mut message, 4, &entry);
    put_bytes(&mut tensor, 1, b"x");
    put_bytes(&mut tensor, 2, b"FP32");
    put_varint(&mut shape, rows as u64);
    put_varint(&mut shape, columns as u64);
    put_bytes(&mut tensor, 3, &shape);
    put_bytes(&mut message, 5, &tensor);
    put_bytes(&mut message, 7, &vec![0; (rows * columns * 4) as usize]);
    Bytes::from(message)
}

fn taken(snapshot: &Snapshot, unit: &str) -> Arc<Decision> {
    decide(snapshot, &Ask::new("cost", "", unit, &Metadata::default()).expect("short"), 0.5).expect("available")
}

#[test]
#[ignore = "says what things cost, and proves nothing"]
fn costs() {
    let snapshot = Snapshot::from_json(SNAPSHOT.as_bytes()).expect("as Python writes it");
    let units: Vec<String> = (0..1024).map(|number| format!("customer-{number}")).collect();
    timed("decide by the split of two arms", 1_000_000, |round| {
        black_box(taken(&snapshot, &units[round as usize % 1024]));
    });
    timed("decide without a unit", 1_000_000, |_| {
        black_box(taken(&snapshot, ""));
    });
    let metadata = ["user-agent", "traceparent", "x-tenant"].into_iter().map(|name| (name, "value")).collect();
    let head = Head { path: "".into(), metadata, peer: "".into(), deadline: None };
    for (rows, columns) in [(1, 16), (500, 60)] {
        let tensor =
            |name: &str, columns: i64| format!(r#"{{"name": "{name}", "dtype": "FP32", "shape": [-1, {columns}]}}"#);
        let (x, y) = (tensor("x", columns), tensor("y", 1));
        let json = format!(r#"{{"inputs": [{x}], "outputs": [{y}], "batched": true}}"#);
        let signature = Signature::from_json(json.as_bytes()).expect("as Python writes it");
        let message = request(rows, columns);
        timed(&format!("parse {rows} x {columns}"), 1_000_000, |_| {
            black_box(InferRequest::parse(&message, &head).is_some());
        });
        timed(&format!("parse and prepare {rows} x {columns}"), 1_000_000, |_| {
            let request = InferRequest::parse(&message, &head).expect("plain");
            black_box(prepare(&request, &signature).expect("it fits"));
        });
        let decision = taken(&snapshot, "u");
        let answer = oip::Head::of(&decision);
        let (dims, data) = ([rows, 1], vec![0; rows as usize * 4]);
        timed(&format!("encode {rows} x 1"), 1_000_000, |_| {
            let output = Output { name: "y", dtype: DType::Fp32, dims: &dims, data: Elements::Raw(&data) };
            black_box(oip::encode(&answer, "request-17", "request-17", &[output]).expect("short"));
        });
    }
}

const METHOD: &str = "inference.GRPCInferenceService/ModelInfer";

#[test]
#[ignore = "says what things cost, and proves nothing"]
fn costs_of_telling() {
    let snapshot = Snapshot::from_json(SNAPSHOT.as_bytes()).expect("as Python writes it");
    let decision = taken(&snapshot, "u");
    let timing = Timing { queue: 5_000, infer: 20_000, rows: 1, started: 7, ..Timing::default() };
    let record = |round: u32, ledger: &Ledger| {
        ledger.record(&Record {
            arrived: 1_800_000_000_000_000_000 + u64::from(round),
            took: 30_000,
            code: OK,
            call: Told { method: METHOD, code: OK },
            decision: &decision,
            unit: "customer-1724",
            request_id: "",
            rows: 1,
            timing: Some(timing),
            trace: [7; 16],
        })
    };
    let bounds = || Bounds { request: [100_000; 16].into(), run: [100_000; 16].into() };
    let counts = Ledger::new(bounds(), "692937a000c0ffee", 0);
    timed("count an end", 1_000_000, |round| {
        black_box(record(round, &counts));
    });
    let keeps = Ledger::new(bounds(), "692937a000c0ffee", 1 << 16);
    timed("count an end and keep its record", 1_000_000, |round| {
        black_box(record(round, &keeps));
        if round % 1024 == 0 {
            black_box(keeps.take());
        }
    });
    keeps.take();
    (0..1024).for_each(|round| assert!(record(round, &keeps) > 0));
    let page = keeps.take().page;
    timed("1,024 records as Arrow", 200, |_| {
        black_box(encode(&page, &[7; 32], "key").expect("short"));
    });
    let settings =
        |root| Settings { root, sampled: Some(u64::MAX), unsampled: None, most_spans: 4096, batch_spans: 512 };
    let head = |flags: &str| {
        let traceparent = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
        let metadata = [("traceparent", traceparent)].into_iter().collect();
        Head { path: "".into(), metadata, peer: "".into(), deadline: None }
    };
    let (quiet, sampled, spans) = (head("00"), head("01"), Spans::new(settings(None)));
    timed("a call that is not sampled", 1_000_000, |_| {
        black_box(matches!(spans.start(METHOD, &quiet), Start::Quiet));
    });
    timed("the three spans of a call that is", 1_000_000, |_| {
        let Start::Recorded(span) = spans.start(METHOD, &sampled) else { unreachable!("sampled") };
        spans.ran(std::iter::once(&*span), &timing, 1_800_000_000_000_000_000);
        let (decision, request_id) = (&*decision, "692937a000c0ffee-1724");
        let (started, ended, offset) = (1_800_000_000_000_000_000, 1_800_000_000_000_000_000, 0);
        let timing = Some(timing);
        spans.ended(&span, &End { code: OK, reason: "", decision, request_id, timing, started, ended, offset });
        black_box(spans.take(false));
    });
}
