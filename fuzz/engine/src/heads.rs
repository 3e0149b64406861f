//! What a call begins with: metadata, timeout and trace context.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arbitrary::{Result, Unstructured};
use http::{HeaderName, HeaderValue, Request};
use turnout_engine::metadata::Metadata;
use turnout_engine::net::fuzzing::{Refusal, opening as open};
use turnout_engine::net::{Methods, Streaming};
use turnout_engine::spans::{Context, trace_id, trace_state};

const NAMES: [&str; 14] = [
    "content-type",
    "grpc-encoding",
    "grpc-timeout",
    "grpc-timeout",
    "te",
    "tracestate",
    "tracestate",
    "traceparent",
    "x-turnout-unit",
    "x-data-bin",
    "host",
    "content-length",
    "grpc-accept-encoding",
    "x-request-id",
];
/// What belongs to the transport.
const OURS: [&str; 7] =
    ["te", "content-type", "content-length", "grpc-timeout", "grpc-encoding", "grpc-accept-encoding", "host"];

/// Takes what a request's fields are made of.
pub fn opening(data: &[u8]) {
    let _ = head(&mut Unstructured::new(data));
}

fn head(from: &mut Unstructured<'_>) -> Result<()> {
    let path = *from.choose(&["/a.B/C", "/a.B/C", "/a.B/D", "/", "/a.B/C?x", "/a.B/C/"])?;
    let mut fields: Vec<(String, Vec<u8>)> = Vec::new();
    if from.ratio(7, 8)? {
        fields.push(("content-type".into(), b"application/grpc".to_vec()));
    }
    for _ in 0..from.int_in_range(0..=12)? {
        let name = if from.ratio(3, 4)? { (*from.choose(&NAMES)?).to_owned() } else { from.arbitrary::<String>()? };
        let value = match from.int_in_range(0..=3)? {
            0 => from.choose(&[&b"gzip"[..], b"identity", b"1S", b"99999999H", b"5m", b"APPLICATION/GRPC+x"])?.to_vec(),
            1 => {
                format!("{}{}", from.arbitrary::<u32>()?, from.choose(&["H", "M", "S", "m", "u", "n", "", "x"])?).into()
            }
            2 => vec![b'a'; from.int_in_range(0..=9_000)?],
            _ => from.arbitrary::<Vec<u8>>()?,
        };
        fields.push((name, value));
    }
    let mut builder = Request::builder().method(*from.choose(&["POST", "POST", "POST", "GET"])?);
    builder = builder.uri(format!("http://x{path}"));
    let mut sent: Vec<(String, Vec<u8>)> = Vec::new();
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes());
        let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(&value)) else { continue };
        sent.push((name.as_str().to_owned(), value.as_bytes().to_vec()));
        builder = builder.header(name, value);
    }
    let Ok(request) = builder.body(()) else { return Ok(()) };
    let methods = Methods::from([("a.B/C".into(), Streaming { client: false, server: false })]);
    let (peer, now): (Arc<str>, _) = ("p:1".into(), Instant::now());
    let last = |name: &str| sent.iter().rev().find(|(sent, _)| sent == name).map(|(_, value)| &value[..]);
    let size: usize = sent.iter().map(|(name, value)| name.len() + value.len() + 32).sum();
    match open(&request.into_parts().0, &methods, &peer, now) {
        Ok(opening) => {
            assert!(size <= 24 * 1024 && path == "/a.B/C");
            assert_eq!(opening.head.deadline, last("grpc-timeout").map(|text| now + plain_timeout(text).unwrap()));
            check_metadata(&opening.head.metadata, &sent);
        }
        Err(Refusal::Status(status)) => assert!(status.code != 0),
        Err(Refusal::NotPost | Refusal::NotGrpc) => {}
    }
    Ok(())
}

fn plain_timeout(text: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(text).ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let nanoseconds: u128 = match unit {
        "H" => 3_600_000_000_000,
        "M" => 60_000_000_000,
        "S" => 1_000_000_000,
        "m" => 1_000_000,
        "u" => 1_000,
        "n" => 1,
        _ => return None,
    };
    let all = digits.parse::<u128>().ok().filter(|_| digits.len() <= 8)? * nanoseconds;
    Some(Duration::new((all / 1_000_000_000) as u64, (all % 1_000_000_000) as u32))
}

/// Each name that is the caller's is there once, with the last of its values, or all of a list.
fn check_metadata(found: &Metadata, sent: &[(String, Vec<u8>)]) {
    let text = |raw: &[u8]| match std::str::from_utf8(raw) {
        Ok(text) => text.to_owned(),
        Err(_) => raw.iter().map(|&byte| char::from(byte)).collect(),
    };
    let mut expected: Vec<(String, String)> = Vec::new();
    for (name, value) in sent {
        if OURS.contains(&name.as_str()) || name.ends_with("-bin") {
            continue;
        }
        match expected.iter_mut().find(|(known, _)| known == name) {
            Some((_, before)) if name == "tracestate" => *before = format!("{before},{}", text(value)),
            Some((_, before)) => *before = text(value),
            None => expected.push((name.clone(), text(value))),
        }
    }
    let mut pairs: Vec<(String, String)> = found.iter().map(|(name, value)| (name.into(), value.into())).collect();
    expected.iter().for_each(|(name, value)| assert_eq!(found.get(name), Some(&**value)));
    pairs.sort();
    expected.sort();
    assert_eq!(pairs, expected);
}

/// Takes a `traceparent`, and behind a line's end a `tracestate`.
pub fn trace(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (parent, state) = text.split_once('\n').unwrap_or((&text, &text));
    let id = trace_id(parent);
    if let Some(context) = Context::parse(parent) {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let again = format!("00-{}-{}-", hex(&context.trace), hex(&context.span));
        assert_eq!(parent[..53], again);
        assert_eq!(u8::from_str_radix(&parent[53..], 16).map(|flags| flags & 1 == 1), Ok(context.sampled));
        assert_eq!(id, context.trace);
    }
    if let Some(passed_on) = trace_state(state) {
        assert!(passed_on.len() <= state.len());
        assert_eq!(trace_state(&passed_on).as_ref(), Some(&passed_on));
        for member in passed_on.split(',').filter(|member| !member.is_empty()) {
            assert!(state.contains(member) && member.contains('='));
        }
    }
}
