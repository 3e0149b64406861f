//! Statuses of errors are as Python has them; tests/transport/test_engine_status.py holds Python to the same file.

use std::time::Duration;

use serde_json::Value as Json;
use turnout_engine::error::{Error, Kind};
use turnout_engine::net::{Value, status_of};

fn kind(name: &str) -> Kind {
    match name {
        "INVALID" => Kind::Invalid,
        "NOT_FOUND" => Kind::NotFound,
        "CONFLICT" => Kind::Conflict,
        "PRECONDITION" => Kind::Precondition,
        "UNAVAILABLE" => Kind::Unavailable,
        "OVERLOADED" => Kind::Overloaded,
        "EXPIRED" => Kind::Expired,
        "CANCELLED" => Kind::Cancelled,
        "UNSUPPORTED" => Kind::Unsupported,
        "UNAUTHENTICATED" => Kind::Unauthenticated,
        "FORBIDDEN" => Kind::Forbidden,
        "INTERNAL" => Kind::Internal,
        other => panic!("{other}"),
    }
}

/// gRPC's status codes.
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

fn leaked(text: &Json) -> &'static str {
    text.as_str().unwrap().to_owned().leak()
}

fn error(golden: &Json) -> Error {
    let mut error = Error::new(kind(golden["kind"].as_str().unwrap()), leaked(&golden["reason"]), "");
    error.message = golden["message"].as_str().unwrap().to_owned();
    for (key, value) in golden["details"].as_object().unwrap() {
        error.details.push((key.clone().leak(), value.as_str().unwrap().to_owned()));
    }
    error.retry_after = golden["retry_after_s"].as_f64().map(Duration::from_secs_f64);
    error
}

#[test]
fn statuses_are_pythons_to_the_byte() {
    let golden: Json = serde_json::from_str(include_str!("statuses.json")).unwrap();
    let golden = golden.as_array().unwrap();
    assert!(golden.len() > 20);
    for golden in golden {
        let status = status_of(&error(golden));
        assert_eq!(Json::from(status.code), golden["code"], "{golden}");
        assert_eq!(NAMES[usize::from(status.code)], error(golden).kind.code());
        assert_eq!(Json::from(&*status.message), golden["text"]);
        let trailers = status.trailers.iter().map(|(name, value)| {
            let value = match value {
                Value::Text(text) => text.clone(),
                Value::Binary(raw) => raw.iter().map(|byte| format!("{byte:02x}")).collect(),
            };
            Json::from(vec![name.clone().into_owned(), value])
        });
        assert_eq!(Json::from(trailers.collect::<Vec<_>>()), golden["trailers"], "{golden}");
    }
}
