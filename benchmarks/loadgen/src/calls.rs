//! What is sent next.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version, header};

use crate::messages::Expected;
use crate::options::Plan;
use crate::random::{self, Random};

const UNIT: &str = "x-turnout-unit";
const TRACEPARENT: &str = "traceparent";

/// Makes one call after the other, in turn through the messages.
pub struct Calls {
    uri: Uri,
    headers: HeaderMap,
    requests: Vec<crate::options::Request>,
    next: usize,
    random: Random,
    units: Option<u64>,
    sampled: f64,
    fixed: bool,
}

/// One call, ready to be sent.
pub struct Call {
    pub head: Request<()>,
    pub frame: Bytes,
    pub expected: Option<Expected>,
}

impl Calls {
    /// Make the calls of thread `number`: each begins elsewhere among the messages.
    pub fn new(plan: &Plan, number: usize) -> Result<Self, String> {
        let uri = Uri::builder()
            .scheme("http")
            .authority(plan.target.as_str())
            .path_and_query(format!("/{}", plan.method))
            .build()
            .map_err(|error| format!("{}/{}: {error}", plan.target, plan.method))?;
        let mut headers = HeaderMap::new();
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static("turnout-loadgen"));
        let mut random = Random::of_now(number as u64);
        if plan.fixed {
            name(&mut headers, UNIT, &random::unit(0));
            name(&mut headers, TRACEPARENT, &random.traceparent(false));
        }
        Ok(Calls {
            uri,
            headers,
            requests: plan.requests.clone(),
            next: number * plan.requests.len() / plan.threads.max(1),
            random,
            fixed: plan.fixed,
            units: plan.units,
            sampled: plan.sampled,
        })
    }

    pub fn make(&mut self) -> Call {
        let request = &self.requests[self.next % self.requests.len()];
        self.next += 1;
        let mut head = Request::new(());
        *head.method_mut() = Method::POST;
        *head.uri_mut() = self.uri.clone();
        *head.version_mut() = Version::HTTP_2;
        *head.headers_mut() = self.headers.clone();
        if !self.fixed {
            let sampled = self.sampled > 0.0 && self.random.share() < self.sampled;
            let drawn = self.random.draw();
            name(head.headers_mut(), UNIT, &random::unit(self.units.map_or(drawn, |units| drawn % units)));
            name(head.headers_mut(), TRACEPARENT, &self.random.traceparent(sampled));
        }
        Call { head, frame: request.frame.clone(), expected: request.expected.clone() }
    }
}

fn name(headers: &mut HeaderMap, key: &'static str, value: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(value) {
        headers.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::options::{Wanted, parse};

    fn plan(options: &str) -> Plan {
        static FILES: AtomicUsize = AtomicUsize::new(0); // tests run at the same time
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        let file = std::env::temp_dir().join(format!("turnout-loadgen-calls-{}-{number}", std::process::id()));
        std::fs::write(&file, b"\0\0\0\0\x01a\0\0\0\0\x01b").unwrap();
        let line = format!("--target 127.0.0.1:1 --requests {} {options}", file.display());
        let arguments: Vec<String> = line.split_whitespace().map(String::from).collect();
        match parse(&arguments).unwrap() {
            Wanted::Plan(plan) => *plan,
            Wanted::Help => unreachable!(),
        }
    }

    #[test]
    fn messages_take_turns_and_each_call_has_names_of_its_own() {
        let mut calls = Calls::new(&plan(""), 0).unwrap();
        let (one, other, third) = (calls.make(), calls.make(), calls.make());
        assert_eq!((one.frame[5], other.frame[5], third.frame[5]), (b'a', b'b', b'a'));
        for name in [UNIT, TRACEPARENT] {
            assert_ne!(one.head.headers()[name], other.head.headers()[name]);
        }
        assert_eq!(one.head.uri().path(), "/inference.GRPCInferenceService/ModelInfer");
        assert!(one.head.headers()[TRACEPARENT].to_str().unwrap().ends_with("-00"));
    }

    #[test]
    fn units_and_samples_are_as_many_as_wanted() {
        let mut calls = Calls::new(&plan("--units 2 --sampled 0.5"), 0).unwrap();
        let heads: Vec<_> = (0..100).map(|_| calls.make().head).collect();
        let units: std::collections::HashSet<_> = heads.iter().map(|head| head.headers()[UNIT].clone()).collect();
        assert_eq!(units.len(), 2);
        let sampled = heads.iter().filter(|head| head.headers()[TRACEPARENT].as_bytes().ends_with(b"1")).count();
        assert!((20..80).contains(&sampled), "{sampled}");
    }

    #[test]
    fn fixed_names_stay() {
        let mut calls = Calls::new(&plan("--fixed"), 0).unwrap();
        let (one, other) = (calls.make().head, calls.make().head);
        assert!(one.headers().contains_key(UNIT) && one.headers().contains_key(TRACEPARENT));
        assert_eq!(one.headers(), other.headers());
    }

    #[test]
    fn a_target_that_is_none_is_refused() {
        let mut wrong = plan("");
        wrong.target = "not a target".into();
        assert!(Calls::new(&wrong, 0).is_err());
    }
}
