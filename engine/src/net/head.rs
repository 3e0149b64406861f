//! What a call begins with: its method, metadata and timeout, out of the request's fields.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::HeaderMap;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method};

use crate::call::Head;
use crate::metadata::Metadata;
use crate::net::inflate::Encoding;
use crate::net::status::{self, Status};
use crate::net::{Methods, Streaming};

/// A call that can be carried.
pub struct Opening {
    pub head: Head,
    pub streaming: Streaming,
    pub encoding: Encoding,
    /// How large its fields are.
    pub size: usize,
}

/// How a call is answered whose head alone says how.
#[derive(Debug, PartialEq)]
pub enum Refusal {
    /// For another method than POST.
    NotPost,
    /// For a content type that is not gRPC's.
    NotGrpc,
    Status(Status),
}

/// Bytes of header fields that a request may have, as SETTINGS_MAX_HEADER_LIST_SIZE counts them: 16 KiB of a caller's, with
/// what the count adds to each and gRPC needs for itself. As `transport/grpcio.py`.
const FIELDS: usize = 24 * 1024;
/// What a field counts beyond its name and value (RFC 9113, section 6.5.2).
const OVERHEAD: usize = 32;
/// The names of the four fields that every request has, `POST` and `http`.
const PSEUDO: usize = 4 * OVERHEAD + 37;

/// Returns what a request begins with.
pub fn opening(parts: &Parts, methods: &Methods, peer: &Arc<str>, now: Instant) -> Result<Opening, Refusal> {
    let fields = &parts.headers;
    let size = size(parts);
    if size > FIELDS {
        return Err(Refusal::Status(status::too_many_fields()));
    }
    if parts.method != Method::POST {
        return Err(Refusal::NotPost);
    }
    if !last(fields, "content-type").is_some_and(|value| is_grpc(value.as_bytes())) {
        return Err(Refusal::NotGrpc);
    }
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let method = target.strip_prefix('/').and_then(|path| methods.get_key_value(path));
    let Some((path, &streaming)) = method else {
        return Err(Refusal::Status(status::unknown_method()));
    };
    let encoding = match last(fields, "grpc-encoding") {
        None => Encoding::Identity,
        Some(name) => Encoding::named(name.as_bytes()).ok_or_else(|| Refusal::Status(status::unknown_encoding()))?,
    };
    let deadline = match last(fields, "grpc-timeout") {
        None => None,
        Some(text) => {
            let timeout = timeout(text.as_bytes()).ok_or_else(|| Refusal::Status(status::bad_timeout()))?;
            now.checked_add(timeout)
        }
    };
    let head = Head { path: path.clone(), metadata: metadata(fields, size), peer: peer.clone(), deadline };
    Ok(Opening { head, streaming, encoding, size })
}

/// Returns how large a request's list of fields is.
fn size(parts: &Parts) -> usize {
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let authority = parts.uri.authority().map_or(0, |authority| authority.as_str().len());
    let fields = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + OVERHEAD);
    PSEUDO + target + authority + fields.sum::<usize>()
}

fn last<'a>(fields: &'a HeaderMap, name: &str) -> Option<&'a HeaderValue> {
    fields.get_all(name).iter().next_back()
}

/// Says whether a content type is `application/grpc`, or that with a kind of message (`+proto`) or a parameter. Names of
/// media types have no case (RFC 9110, section 8.3.1).
fn is_grpc(content_type: &[u8]) -> bool {
    const NAME: &[u8] = b"application/grpc";
    content_type.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME))
        && matches!(content_type.get(NAME.len()), None | Some(b'+' | b';'))
}

/// Reads `grpc-timeout`: one to eight digits and a unit.
fn timeout(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count = digits.iter().fold(0u64, |count, digit| count * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(count * 3600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

/// Says whether a field belongs to the transport, or is binary.
fn is_ours(name: &str) -> bool {
    matches!(
        name,
        "te" | "content-type" | "content-length" | "grpc-timeout" | "grpc-encoding" | "grpc-accept-encoding" | "host"
    ) || name.ends_with("-bin")
}

/// Returns the caller's metadata, one value of each name: the last, where they are no list.
fn metadata(fields: &HeaderMap, bytes: usize) -> Metadata {
    let mut found = Metadata::with_capacity(fields.keys_len(), bytes);
    for name in fields.keys().filter(|name| !is_ours(name.as_str())) {
        let values = fields.get_all(name);
        let texts: Cow<'_, str> = if is_list(name) {
            values.iter().map(text).collect::<Vec<_>>().join(",").into()
        } else {
            values.iter().next_back().map(text).unwrap_or_default()
        };
        found.push(name.as_str(), &texts);
    }
    found
}

/// Says whether several fields of this name are one list, which may come in parts (W3C Trace Context, section 3.3.1.1).
fn is_list(name: &HeaderName) -> bool {
    name.as_str() == "tracestate"
}

/// Values that are not UTF-8 are read as Latin-1.
fn text(value: &HeaderValue) -> Cow<'_, str> {
    let raw = value.as_bytes();
    let latin1 = || raw.iter().map(|&byte| char::from(byte)).collect();
    std::str::from_utf8(raw).map_or_else(|_| Cow::Owned(latin1()), Cow::Borrowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn methods() -> Methods {
        Methods::from([("a.B/C".into(), Streaming { client: false, server: false })])
    }

    fn parts(path: &str, fields: &[(&str, &[u8])]) -> Parts {
        let mut builder = Request::builder().method("POST").uri(format!("http://x{path}"));
        for (name, value) in fields {
            builder = builder.header(*name, HeaderValue::from_bytes(value).unwrap());
        }
        builder.body(()).unwrap().into_parts().0
    }

    fn open(path: &str, fields: &[(&str, &[u8])]) -> Result<Opening, Refusal> {
        let mut all: Vec<(&str, &[u8])> = vec![("content-type", b"application/grpc")];
        all.extend_from_slice(fields);
        opening(&parts(path, &all), &methods(), &"p:1".into(), Instant::now())
    }

    #[test]
    fn a_head_has_the_path_and_what_the_caller_said() {
        let fields: [(&str, &[u8]); 8] = [
            ("te", b"trailers"),
            ("x-unit", b"one"),
            ("x-data-bin", b"AAEC"),
            ("x-unit", b"two"),
            ("x-utf8", "wörd".as_bytes()),
            ("x-latin", b"w\xf6rd"),
            ("tracestate", b"a=1"),
            ("tracestate", b"b=2"),
        ];
        let head = open("/a.B/C", &fields).ok().unwrap().head;
        assert_eq!(&*head.path, "a.B/C");
        let expected = [("x-unit", "two"), ("x-utf8", "wörd"), ("x-latin", "wörd"), ("tracestate", "a=1,b=2")];
        assert_eq!(head.metadata.iter().collect::<Vec<_>>(), expected);
        assert_eq!(head.deadline, None);
    }

    #[test]
    fn a_content_type_has_no_case_and_may_say_more() {
        for good in ["application/grpc", "Application/GRPC", "application/grpc+proto", "application/grpc;a=b"] {
            assert!(is_grpc(good.as_bytes()), "{good}");
        }
        for bad in ["", "application/grp", "application/grpc-web", "application/grpcx", "text/plain"] {
            assert!(!is_grpc(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn timeouts_are_up_to_eight_digits_and_a_unit() {
        let all = [("1H", 3_600_000), ("2M", 120_000), ("3S", 3_000), ("4m", 4), ("5000u", 5), ("6000000n", 6)];
        for (text, milliseconds) in all {
            assert_eq!(timeout(text.as_bytes()), Some(Duration::from_millis(milliseconds)));
        }
        for bad in ["", "S", "1", "1s", "-1S", "+1S", " 1S", "1 S", "123456789S", "1.5S"] {
            assert_eq!(timeout(bad.as_bytes()), None, "{bad}");
        }
        assert!(open("/a.B/C", &[("grpc-timeout", b"99999999H")]).is_ok());
    }

    #[test]
    fn twenty_four_kilobytes_of_fields_are_taken_and_no_more() {
        let most = FIELDS - PSEUDO - "/a.B/Cx".len() - "content-typeapplication/grpcx-a".len() - 2 * OVERHEAD;
        assert!(open("/a.B/C", &[("x-a", &vec![b'a'; most])]).is_ok());
        let refused = open("/a.B/C", &[("x-a", &vec![b'a'; most + 1])]).err().unwrap();
        assert_eq!(refused, Refusal::Status(status::too_many_fields()));
    }

    #[test]
    fn what_is_refused_is_refused_in_this_order() {
        let refusal = |path: &str, fields: &[(&str, &[u8])]| match open(path, fields) {
            Err(Refusal::Status(status)) => status.message.into_owned(),
            Err(other) => format!("{other:?}"),
            Ok(_) => String::new(),
        };
        let bad: [(&str, &[u8]); 2] = [("grpc-encoding", b"br"), ("grpc-timeout", b"x")];
        assert_eq!(refusal("/a.B/D", &bad), "Method not found!");
        assert_eq!(refusal("/a.B/C?x", &[]), "Method not found!");
        assert_eq!(refusal("/a.B/C", &bad), "unknown grpc-encoding");
        assert_eq!(refusal("/a.B/C", &bad[1..]), "malformed grpc-timeout");
        assert_eq!(refusal("/a.B/C", &[("content-type", b"text/plain")]), "NotGrpc");
    }
}
