//! A stream's messages: a `ModelInferRequest`, whose answer is a `ModelStreamInferResponse`, also where it is an error.

use std::time::Instant;

use bytes::Bytes;

use super::response::{encode_streamed, put_parameter, put_text};
use super::wire::put_bytes;
use super::{InferRequest, Output, Prepared, Signature};
use crate::call::Head;
use crate::decide::Ask;
use crate::error::Error;
use crate::infer::question::{Answerer, Question};

/// A parameter that is true.
const TRUE: &[u8] = b"\x08\x01";

/// A request that came in a stream.
pub struct StreamRequest<'a>(pub InferRequest<'a>);

impl StreamRequest<'_> {
    /// Returns the answer that tells of an error, by the request's own id.
    pub fn failed(&self, error: &Error) -> Bytes {
        let mut response = Vec::new();
        put_text(&mut response, 3, self.0.id);
        response.extend_from_slice(&self.mark());
        let text = format!("{}: {}", error.reason, error.message);
        let mut message = Vec::with_capacity(text.len() + response.len() + 16);
        put_bytes(&mut message, 1, text.as_bytes());
        put_bytes(&mut message, 2, &response);
        message.into()
    }

    /// Returns the parameter that marks the request's last answer, which each is, where the request asks for it.
    fn mark(&self) -> Vec<u8> {
        let mut mark = Vec::new();
        if self.0.wants_final {
            put_parameter(&mut mark, "triton_final_response", TRUE);
        }
        mark
    }
}

impl Question for StreamRequest<'_> {
    fn ask<'b>(&'b self, head: &'b Head) -> Option<Ask<'b>> {
        self.0.ask(head)
    }

    fn request_id(&self) -> &str {
        self.0.request_id()
    }

    fn deadline(&self, of_call: Option<Instant>, now: Instant) -> Option<Instant> {
        self.0.deadline(of_call, now)
    }

    fn level(&self) -> u8 {
        self.0.level()
    }

    fn is_sound(&self) -> bool {
        self.0.is_sound()
    }

    fn prepare(&self, signature: &Signature) -> Option<Prepared> {
        self.0.prepare(signature)
    }

    fn fits(&self, by: Answerer<'_>, request_id: usize, outputs: &[Output<'_>]) -> bool {
        self.0.fits(by, request_id, outputs)
    }

    fn answer(&self, by: Answerer<'_>, request_id: &str, outputs: &[Output<'_>]) -> Option<Bytes> {
        encode_streamed(by.view.head(by.decision)?, self.0.id, &self.mark(), request_id, outputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::oip::testing::{head, message, with_parameter};

    const X: (&str, &str, &[i64], &[u8]) = ("x", "FP32", &[1, 1], &[0; 4]);

    #[test]
    fn an_error_is_an_answer_with_the_requests_id() {
        let error = Error::new(Kind::Overloaded, "QUEUE_FULL", "no");
        let head = head(&[]);
        let plain = Bytes::from([&message("m", &[X])[..], b"\x1a\x02id"].concat());
        let request = StreamRequest(InferRequest::parse(&plain, &head).unwrap());
        assert_eq!(&*request.failed(&error), b"\x0a\x0eQUEUE_FULL: no\x12\x04\x1a\x02id");
        let asking = with_parameter(plain.to_vec(), "triton_enable_empty_final_response", b"\x08\x01").into();
        let request = StreamRequest(InferRequest::parse(&asking, &head).unwrap());
        let mark = b"\x22\x1b\x0a\x15triton_final_response\x12\x02\x08\x01";
        assert!(request.failed(&error).ends_with(mark));
        for other in [&b"\x08\x00"[..], b"\x10\x01", b"\x1a\x04true"] {
            let message = with_parameter(plain.to_vec(), "triton_enable_empty_final_response", other).into();
            assert!(!StreamRequest(InferRequest::parse(&message, &head).unwrap()).0.wants_final);
        }
    }
}
