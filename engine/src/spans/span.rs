//! The spans of calls, streams' messages, queues and runs.

use std::sync::Arc;

use super::buffer::{Batch, Buffer};
use super::context::{Context, Parent, SpanId, state};
use super::ids;
use super::otlp::{Head, Kind, Writer};
use super::sampler::Settings;
use crate::call;
use crate::decide::Decision;
use crate::infer::record::Timing;

const MESSAGE: &str = "turnout.message";
const QUEUE: &str = "turnout.queue";
const RUN: &str = "turnout.run";
const ROWS: &str = "turnout.batch.rows";
/// The status codes that the semantic conventions count as errors of a server.
const SERVER_FAULTS: [&str; 6] =
    ["UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"];

/// The span of a request that is recorded, until it ends.
#[derive(Debug)]
pub struct Span {
    pub context: Context,
    /// The caller's; for a message, its call's.
    parent: Option<SpanId>,
    /// `tracestate`, as the parent has it.
    state: String,
    of: Of,
}

/// What a request came as.
#[derive(Debug, PartialEq)]
enum Of {
    /// A call of this method.
    Call(&'static str),
    /// A message of a stream.
    Message,
}

/// What tracing says of a call that begins.
pub enum Start {
    /// What the caller says of its trace is for Python to read.
    Odd,
    /// Nobody wants to know of it.
    Quiet,
    Recorded(Arc<Span>),
}

/// What a call's span says of its end.
pub struct End<'a> {
    /// The name of a status code of gRPC's.
    pub code: &'static str,
    /// Empty for a call that was answered.
    pub reason: &'static str,
    pub decision: &'a Decision,
    pub request_id: &'a str,
    pub timing: Option<Timing>,
    /// In nanoseconds since the epoch.
    pub started: u64,
    pub ended: u64,
    /// What to add to the plane's clock to get those.
    pub offset: u64,
}

/// Makes spans, and keeps them until they are taken.
pub struct Spans {
    settings: Settings,
    buffer: Buffer,
}

impl Spans {
    /// Makes a maker of spans.
    pub fn new(settings: Settings) -> Self {
        Self { buffer: Buffer::new(settings.most_spans, settings.batch_spans), settings }
    }

    /// Begins a call of `method`.
    pub fn start(&self, method: &'static str, head: &call::Head) -> Start {
        let parent = match head.get("traceparent").map(Context::parse) {
            None => None,
            Some(None) => return Start::Odd,
            Some(Some(parent)) => Some(parent).filter(Context::is_valid),
        };
        let trace = parent.map_or_else(ids::trace_id, |parent| parent.trace);
        if !self.settings.samples(&trace, parent.as_ref()) {
            return Start::Quiet;
        }
        let said = head.get("tracestate").filter(|_| parent.is_some()).unwrap_or_default();
        let Some(state) = state(said) else { return Start::Odd };
        let context = Context { trace, span: ids::span_id(), sampled: true };
        let parent = parent.map(|parent| parent.span);
        Start::Recorded(Arc::new(Span { context, parent, state, of: Of::Call(method) }))
    }

    /// Begins a message of a stream, whose call's span is `parent`, and recorded.
    pub fn start_message(&self, parent: &Parent) -> Start {
        let Parent { context: Context { trace, span, .. }, state } = parent;
        let context = Context { trace: *trace, span: ids::span_id(), sampled: true };
        Start::Recorded(Arc::new(Span { context, parent: Some(*span), state: state.clone(), of: Of::Message }))
    }

    /// Ends a call or a message: its span, and that of its time in a queue.
    pub fn ended(&self, span: &Span, end: &End<'_>) {
        let mut bytes = Vec::with_capacity(1024);
        let waited = end.timing.filter(|timing| timing.started > 0);
        if let Some(timing) = waited {
            let ended = timing.started.wrapping_add(end.offset);
            let queue = child(span, &ids::span_id(), QUEUE, ended - timing.queue.min(ended), ended);
            queue.end(&mut bytes);
        }
        let (name, kind, remote, error) = match span.of {
            Of::Call(method) => {
                (method, Kind::Server, span.parent.is_some(), SERVER_FAULTS.contains(&end.code).then_some(""))
            }
            // Whoever's fault it was: no status of the call's will tell of it.
            Of::Message => (MESSAGE, Kind::Internal, false, (!end.reason.is_empty()).then_some(end.reason)),
        };
        let mut call = Writer::new(&Head {
            trace: &span.context.trace,
            span: &span.context.span,
            state: &span.state,
            parent: span.parent.as_ref(),
            remote,
            name,
            kind,
            started: end.started,
            ended: end.ended,
            error,
        });
        let decision = end.decision;
        if let Of::Call(method) = span.of {
            call.text("rpc.system.name", "grpc");
            call.text("rpc.method", method);
        }
        call.text("turnout.route", &decision.route);
        call.text("turnout.target", &decision.target);
        call.text("turnout.reason", decision.reason.name());
        call.text("turnout.model.name", &decision.model);
        call.number("turnout.model.version", decision.version);
        call.text("turnout.assigned_target", &decision.assigned);
        if !decision.enrolment.experiment.is_empty() {
            call.text("turnout.experiment", &decision.enrolment.experiment);
        }
        call.text("turnout.request.id", end.request_id);
        if let Some(timing) = end.timing {
            call.number(ROWS, timing.rows as i64);
        }
        call.text("rpc.response.status_code", end.code);
        if !end.reason.is_empty() {
            call.text("turnout.error.reason", end.reason);
        }
        if error.is_some() {
            call.text("error.type", end.code);
        }
        call.end(&mut bytes);
        self.buffer.push(if waited.is_some() { 2 } else { 1 }, &bytes);
    }

    /// Records a run: the child of its first recorded request, linked to all of them. `timing` is the run's.
    pub fn ran<'a>(&self, requests: impl Iterator<Item = &'a Span> + Clone, timing: &Timing, offset: u64) {
        let Some(first) = requests.clone().next() else { return };
        let started = timing.started.wrapping_add(timing.input).wrapping_add(offset);
        let mut run = child(first, &ids::span_id(), RUN, started, started.wrapping_add(timing.infer));
        run.number(ROWS, timing.rows as i64);
        requests.for_each(|request| run.link(&request.context));
        let mut bytes = Vec::with_capacity(256);
        run.end(&mut bytes);
        self.buffer.push(1, &bytes);
    }

    /// Returns the oldest spans, as fields of OTLP's `ScopeSpans`; fewer than a batch only where `rest` says so.
    pub fn take(&self, rest: bool) -> Option<Batch> {
        self.buffer.take(rest)
    }

    /// Returns how many spans there was no room for.
    pub fn lost(&self) -> u64 {
        self.buffer.lost()
    }
}

fn child(of: &Span, id: &SpanId, name: &str, started: u64, ended: u64) -> Writer {
    Writer::new(&Head {
        trace: &of.context.trace,
        span: id,
        state: &of.state,
        parent: Some(&of.context.span),
        remote: false,
        name,
        kind: Kind::Internal,
        started,
        ended,
        error: None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::oip::wire::{Fields, Value};

    const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn spans(root: Option<u64>) -> Spans {
        Spans::new(Settings { root, sampled: Some(u64::MAX), unsampled: None, most_spans: 9, batch_spans: 9 })
    }

    fn head(metadata: &[(&str, &str)]) -> call::Head {
        let metadata = metadata.iter().copied().collect();
        call::Head { path: "".into(), metadata, peer: "p".into(), deadline: None }
    }

    fn recorded(spans: &Spans, metadata: &[(&str, &str)]) -> Arc<Span> {
        match spans.start("a.B/C", &head(metadata)) {
            Start::Recorded(span) => span,
            Start::Odd => panic!("odd"),
            Start::Quiet => panic!("quiet"),
        }
    }

    #[test]
    fn a_call_continues_its_callers_trace_or_begins_one() {
        let spans = spans(Some(u64::MAX));
        let found = recorded(&spans, &[("traceparent", CALLER), ("tracestate", "a=1, b=2")]);
        assert_eq!(
            (found.context.trace[0], found.parent.map(|id| id[0]), &*found.state),
            (0x0a, Some(0xb7), "a=1,b=2")
        );
        let zeros = format!("00-{}-{}-01", "0".repeat(32), "0".repeat(16));
        for metadata in [&[][..], &[("traceparent", &*zeros), ("tracestate", "a=1")], &[("tracestate", "=odd=")]] {
            let found = recorded(&spans, metadata);
            assert_eq!((found.parent, &*found.state), (None, ""));
            assert_ne!(found.context.trace, [0; 16]);
        }
    }

    #[test]
    fn what_is_not_sampled_is_quiet_and_what_is_odd_is_pythons() {
        let spans = spans(None);
        assert!(matches!(spans.start("m", &head(&[])), Start::Quiet));
        let unsampled = CALLER.replace("-01", "-00");
        let odd_state = ("tracestate", "=odd=");
        assert!(matches!(spans.start("m", &head(&[("traceparent", &unsampled), odd_state])), Start::Quiet));
        assert!(matches!(spans.start("m", &head(&[("traceparent", CALLER), odd_state])), Start::Odd));
        assert!(matches!(spans.start("m", &head(&[("traceparent", "nonsense")])), Start::Odd));
    }

    #[test]
    fn a_run_is_its_first_requests_child_and_linked_to_all() {
        let spans = spans(Some(u64::MAX));
        let requests = [recorded(&spans, &[]), recorded(&spans, &[("traceparent", CALLER)])];
        let timing = Timing { input: 5, infer: 7, rows: 3, started: 100, ..Timing::default() };
        spans.ran(requests.iter().map(|span| &**span), &timing, 1_000);
        spans.ran(requests[..0].iter().map(|span| &**span), &timing, 1_000);
        let batch = spans.take(true).unwrap();
        assert_eq!(batch.count, 1);
        let (number, span) = Fields::of(&batch.bytes).next_field().unwrap().unwrap();
        assert_eq!(number, 2);
        let mut fields = Fields::of(span.bytes().unwrap());
        let mut found: HashMap<u32, Vec<&[u8]>> = HashMap::new();
        while let Some((number, value)) = fields.next_field().unwrap() {
            if let Value::Bytes(bytes) = value {
                found.entry(number).or_default().push(bytes);
            }
        }
        assert_eq!((found[&1][0], found[&4][0]), (&requests[0].context.trace[..], &requests[0].context.span[..]));
        let linked: Vec<&[u8]> = found[&13].iter().map(|link| &link[20..28]).collect();
        assert_eq!(linked, requests.each_ref().map(|request| &request.context.span[..]));
        let times = [1_105u64, 1_112].map(u64::to_le_bytes);
        assert!(times.iter().all(|time| batch.bytes.windows(8).any(|part| part == time)), "where it began and ended");
    }
}
