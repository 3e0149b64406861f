//! The command line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::messages::{self, Expected};

pub const HELP: &str = "\
usage: turnout-loadgen --target HOST:PORT --requests FILE [OPTIONS]

Sends the messages in FILE in turn, each call with a traceparent and a unit of its own, and prints one line of JSON.

  --target HOST:PORT   the server, without TLS
  --requests FILE      messages as a gRPC stream carries them: a byte 0, the length in four bytes, most significant
                       first, the message; any number of them
  --expect FILE        likewise, for each request: the answer's raw_output_contents, one after the other. Another
                       answer counts as the error WRONG_ANSWER
  --field N            the answer's field that --expect has, where it is another one: of bytes, texts or messages
  --nearly             floats of 32 bits may be off by a thousandth: rows that are computed together round otherwise
  --callers N          closed loop: callers that send the next call when the last is answered; 1
  --rate R             open loop instead: calls a second, whether or not earlier ones were answered
  --connections C      as many as there are callers, at most 8, unless this says otherwise
  --threads T          1
  --seconds S          how long it measures; 5
  --warmup S           how long it calls before that; 1
  --method PATH        inference.GRPCInferenceService/ModelInfer
  --units N            that many units in turn, in place of a new one a call
  --sampled SHARE      of the calls whose traceparent says that they are sampled; 0
  --fixed              one traceparent and one unit for all calls, which is all that other generators can do
  --pid PID            the server's process: says what CPU a call took it and its descendants";

/// What to do.
#[derive(Debug, Clone)]
pub struct Plan {
    pub target: String,
    pub method: String,
    pub requests: Vec<Request>,
    pub callers: usize,
    /// Calls a second of an open loop; none for a closed one.
    pub rate: Option<f64>,
    pub connections: usize,
    pub threads: usize,
    pub measured: Duration,
    pub warmup: Duration,
    /// How many units there are; none for a new one a call.
    pub units: Option<u64>,
    /// The share of calls that are sampled, 0 to 1.
    pub sampled: f64,
    /// Whether all calls have the same trace and unit.
    pub fixed: bool,
    pub pid: Option<u32>,
}

/// One message, and what is to come back.
#[derive(Debug, Clone)]
pub struct Request {
    /// Framed, as it goes over the wire.
    pub frame: bytes::Bytes,
    /// None where any answer will do.
    pub expected: Option<Expected>,
}

pub enum Wanted {
    Plan(Box<Plan>),
    Help,
}

/// Most connections that callers get without asking for more: what a real client of that many callers might have.
const CONNECTIONS: usize = 8;

/// Read the arguments and the files that they name.
pub fn parse(arguments: &[String]) -> Result<Wanted, String> {
    let mut plan = Plan {
        target: String::new(),
        method: "inference.GRPCInferenceService/ModelInfer".into(),
        requests: Vec::new(),
        callers: 1,
        rate: None,
        connections: 0,
        threads: 1,
        measured: Duration::from_secs(5),
        warmup: Duration::from_secs(1),
        units: None,
        sampled: 0.0,
        fixed: false,
        pid: None,
    };
    let (mut requests, mut expect, mut nearly, mut field) = (None, None, false, messages::RAW_OUTPUT_CONTENTS);
    let mut rest = arguments.iter();
    while let Some(option) = rest.next() {
        match option.as_str() {
            "--help" | "-h" => return Ok(Wanted::Help),
            "--nearly" => {
                nearly = true;
                continue;
            }
            "--fixed" => {
                plan.fixed = true;
                continue;
            }
            _ => {}
        }
        let mut value = || rest.next().ok_or_else(|| format!("{option} needs a value"));
        match option.as_str() {
            "--target" => plan.target = value()?.clone(),
            "--method" => plan.method = value()?.trim_start_matches('/').into(),
            "--requests" => requests = Some(PathBuf::from(value()?)),
            "--expect" => expect = Some(PathBuf::from(value()?)),
            "--field" => field = whole(option, value()?)? as u64,
            "--callers" => plan.callers = whole(option, value()?)?,
            "--connections" => plan.connections = whole(option, value()?)?,
            "--threads" => plan.threads = whole(option, value()?)?,
            "--rate" => plan.rate = Some(above_0(option, value()?)?),
            "--seconds" => plan.measured = Duration::from_secs_f64(above_0(option, value()?)?),
            "--warmup" => plan.warmup = Duration::from_secs_f64(number(option, value()?)?),
            "--units" => plan.units = Some(whole(option, value()?)? as u64),
            "--sampled" => plan.sampled = number(option, value()?)?.min(1.0),
            "--pid" => plan.pid = Some(value()?.parse().map_err(|_| "--pid: expected a process id".to_string())?),
            _ => return Err(format!("unknown option {option}")),
        }
    }
    if plan.target.is_empty() {
        return Err("--target is missing".into());
    }
    if plan.connections == 0 {
        let callers = if plan.rate.is_some() { CONNECTIONS } else { plan.callers };
        plan.connections = callers.clamp(1, CONNECTIONS);
    }
    plan.threads = plan.threads.min(plan.connections);
    plan.requests = requests_of(&requests.ok_or("--requests is missing")?, expect.as_deref(), field, nearly)?;
    Ok(Wanted::Plan(Box::new(plan)))
}

fn requests_of(file: &Path, expect: Option<&Path>, field: u64, nearly: bool) -> Result<Vec<Request>, String> {
    let frames = messages::frames_in(file)?;
    let expected: Vec<Option<Expected>> = match expect {
        Some(file) => messages::frames_in(file)?
            .iter()
            .map(|frame| Some(Expected { field, contents: messages::message_in(frame), nearly }))
            .collect(),
        None => vec![None; frames.len()],
    };
    if expected.len() != frames.len() {
        return Err(format!("{} answers are expected of {} requests", expected.len(), frames.len()));
    }
    if frames.is_empty() {
        return Err(format!("{}: there is no message in it", file.display()));
    }
    Ok(frames.into_iter().zip(expected).map(|(frame, expected)| Request { frame, expected }).collect())
}

fn whole(option: &str, text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(found) if found > 0 => Ok(found),
        _ => Err(format!("{option}: found {text:?}; expected a whole number above 0")),
    }
}

fn above_0(option: &str, text: &str) -> Result<f64, String> {
    match number(option, text)? {
        0.0 => Err(format!("{option}: found {text:?}; expected a number above 0")),
        found => Ok(found),
    }
}

fn number(option: &str, text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(found) if (0.0..=1e9).contains(&found) => Ok(found),
        _ => Err(format!("{option}: found {text:?}; expected a number from 0 to 1e9")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Plan, String> {
        let arguments: Vec<String> = line.split_whitespace().map(String::from).collect();
        match parse(&arguments)? {
            Wanted::Plan(plan) => Ok(*plan),
            Wanted::Help => Err("help".into()),
        }
    }

    fn file(name: &str, content: &[u8]) -> String {
        let path = std::env::temp_dir().join(format!("turnout-loadgen-{}-{name}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let requests = file("plain", b"\0\0\0\0\x02ab");
        let plan = parsed(&format!("--target h:1 --requests {requests} --callers 64")).unwrap();
        assert_eq!((plan.callers, plan.connections, plan.threads), (64, 8, 1));
        assert_eq!(plan.requests[0].frame.as_ref(), b"\0\0\0\0\x02ab");
        assert!(plan.requests[0].expected.is_none());
    }

    #[test]
    fn an_answer_is_expected_of_each_request() {
        let requests = file("two", b"\0\0\0\0\x01a\0\0\0\0\x01b");
        let one = file("one", b"\0\0\0\0\x01x");
        let two = file("both", b"\0\0\0\0\x01x\0\0\0\0\0");
        let wrong = parsed(&format!("--target h:1 --requests {requests} --expect {one}")).unwrap_err();
        assert!(wrong.contains("1 answers are expected of 2 requests"), "{wrong}");
        let plan = parsed(&format!("--target h:1 --requests {requests} --nearly --expect {two}")).unwrap();
        let expected: Vec<_> = plan.requests.into_iter().flat_map(|request| request.expected).collect();
        assert_eq!(expected.iter().map(|one| one.contents.as_ref()).collect::<Vec<_>>(), [&b"x"[..], b""]);
        assert!(expected[0].nearly && expected[0].field == 6);
        let plan = parsed(&format!("--target h:1 --requests {requests} --field 1 --expect {two}")).unwrap();
        assert_eq!(plan.requests[1].expected.as_ref().map(|one| one.field), Some(1));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let requests = file("named", b"\0\0\0\0\0");
        for (line, problem) in [
            ("--requests x", "--target is missing"),
            ("--target h:1", "--requests is missing"),
            ("--target", "--target needs a value"),
            ("--callers 0", "--callers: found \"0\""),
            ("--rate 0", "--rate: found \"0\""),
            ("--seconds NaN", "--seconds: found \"NaN\""),
            ("--nonsense 1", "unknown option --nonsense"),
        ] {
            let found = parsed(line).unwrap_err();
            assert!(found.contains(problem), "{line}: {found}");
        }
        assert!(parsed(&format!("--target h:1 --requests {requests} --rate 5")).is_ok());
    }
}
