//! What the native path costs a call, without the run. Run it with
//! `cargo test --release --test costs -- --ignored --nocapture`.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use turnout_engine::call::Head;
use turnout_engine::decide::{Ask, Decision, Snapshot, decide};
use turnout_engine::oip::wire::{put_bytes, put_varint};
use turnout_engine::oip::{self, InferRequest, Output, Signature, prepare};
use turnout_engine::tensor::{DType, Elements};

const SNAPSHOT: &str = r#"{"digest": "d", "routes": [{
    "name": "cost", "salt": "salt-2026", "epoch": "e", "mirrors": [], "total": 100, "fallback": 0,
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
    decide(snapshot, &Ask::new("cost", "", unit, &[]).expect("short"), 0.5).expect("available")
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
    let metadata = ["user-agent", "traceparent", "x-tenant"].map(|name| (name.to_owned(), "value".to_owned()));
    let head = Head { path: String::new(), metadata: metadata.into(), peer: "".into(), deadline: None };
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
