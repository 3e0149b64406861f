//! `ModelInferRequest`, read without a copy.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::contents;
use super::wire::{Fields, Odd, Value};
use super::{Output, Prepared, Signature};
use crate::call::Head;
use crate::decide::ask::{Ask, NAME_LIMIT, UNIT_LIMIT, within};
use crate::infer::question::{Answerer, DEFAULT_LEVEL, Question};

/// Inputs, outputs wanted or raw contents of one request. A message has room for millions of empty ones.
const TENSOR_LIMIT: usize = 10_000;
/// Axes of an input: NumPy refuses more than 64, and no graph has so many.
const AXES_LIMIT: usize = 32;
/// The metadata key that names the unit, where the request itself does not.
pub const UNIT_KEY: &str = "x-turnout-unit";
/// The metadata key that names the request, where the request itself does not.
pub const REQUEST_ID_KEY: &str = "x-request-id";
/// Triton's lowest priority.
const LOWEST_PRIORITY: u64 = 10;

/// One input.
#[derive(Debug, Default, PartialEq)]
pub struct Input<'a> {
    pub name: &'a str,
    pub datatype: &'a str,
    pub shape: Vec<i64>,
    /// Its elements, where they are typed: an `InferTensorContents`.
    pub contents: Option<&'a [u8]>,
}

/// What a caller asks, read and within all bounds; its tensors are not held against a signature yet.
#[derive(Debug)]
pub struct InferRequest<'a> {
    /// All of it.
    pub message: &'a Bytes,
    /// A route, or a model. Never empty.
    pub name: &'a str,
    /// Empty, a version number, or a label.
    pub version: &'a str,
    /// The request's own id, which comes back in the answer; may be empty.
    pub id: &'a str,
    /// The request's own id, else what the metadata say; empty where nobody says.
    pub request_id: &'a str,
    /// What an assignment sticks to: the parameter `unit_id`, else what the metadata say.
    pub unit: Cow<'a, str>,
    /// How long the caller waits by the request's own word, in microseconds; None for no word.
    pub timeout_us: Option<u64>,
    /// Triton's: 0 is the default, 1 the highest, greater is lower.
    pub priority: u64,
    pub inputs: Vec<Input<'a>>,
    /// The outputs wanted, in this order; empty for all.
    pub outputs: Vec<&'a str>,
    /// One for each input: slices of the message. None where inputs are typed.
    pub raw: Vec<Bytes>,
    /// Whether the answer is to be raw whatever the inputs are.
    pub wants_raw: bool,
    /// Whether a stream's answer is to say that it is the request's last.
    pub wants_final: bool,
}

/// A parameter's value, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Parameter<'a> {
    Nothing,
    Bool(bool),
    Signed(i64),
    Text(&'a str),
    Double,
    Unsigned(u64),
}

/// The parameters that Turnout knows. Of several with one name the last counts, as in any map.
#[derive(Default)]
struct Parameters<'a> {
    unit: Option<Parameter<'a>>,
    timeout: Option<Parameter<'a>>,
    priority: Option<Parameter<'a>>,
    wants_final: Option<Parameter<'a>>,
    raw_answer: Option<Parameter<'a>>,
    sequence: Option<Parameter<'a>>,
}

impl<'a> InferRequest<'a> {
    /// Reads `message`, which came after `head`. None for what Python has to look at.
    pub fn parse(message: &'a Bytes, head: &'a Head) -> Option<Self> {
        Self::read(message, head).ok()
    }

    /// Says whether the answer is raw even where answers are sent in their request's form.
    pub fn is_raw(&self) -> bool {
        self.wants_raw || !self.raw.is_empty() || !self.inputs.iter().any(Input::is_typed)
    }

    fn read(message: &'a Bytes, head: &'a Head) -> Result<Self, Odd> {
        let (mut name, mut version, mut id) = ("", "", "");
        let mut parameters = Parameters::default();
        let (mut inputs, mut outputs, mut raw) = (Vec::new(), Vec::new(), Vec::new());
        let mut fields = Fields::of(message);
        while let Some((number, value)) = fields.next_field()? {
            match number {
                1 => name = value.text()?,
                2 => version = value.text()?,
                3 => id = value.text()?,
                4 => parameters.read(value.bytes()?)?,
                5 => push(&mut inputs, Input::read(value.bytes()?)?)?,
                6 => push(&mut outputs, read_output(value.bytes()?)?)?,
                7 => push(&mut raw, message.slice_ref(value.bytes()?))?,
                _ => {}
            }
        }
        let request_id = if id.is_empty() { head.get(REQUEST_ID_KEY).unwrap_or_default() } else { id };
        let unit = match parameters.unit()? {
            Some(unit) if !unit.is_empty() => unit,
            _ => Cow::Borrowed(head.get(UNIT_KEY).unwrap_or_default()),
        };
        if !raw.is_empty() && (inputs.len() != raw.len() || inputs.iter().any(Input::is_typed)) {
            return Err(Odd);
        }
        if !within(request_id, UNIT_LIMIT) || !parameters.are_plain() {
            return Err(Odd);
        }
        let timeout_us = count(parameters.timeout)?.filter(|&timeout| timeout > 0);
        let priority = count(parameters.priority)?.unwrap_or_default();
        let wants_raw = parameters.raw_answer.is_some();
        let wants_final = matches!(parameters.wants_final, Some(Parameter::Bool(true)));
        let request = Self {
            name,
            version,
            id,
            request_id,
            unit,
            timeout_us,
            priority,
            inputs,
            outputs,
            raw,
            wants_raw,
            wants_final,
            message,
        };
        request.ask(head).ok_or(Odd)?;
        Ok(request)
    }
}

impl Question for InferRequest<'_> {
    fn ask<'b>(&'b self, head: &'b Head) -> Option<Ask<'b>> {
        Ask::new(self.name, self.version, &self.unit, &head.metadata)
    }

    fn request_id(&self) -> &str {
        self.request_id
    }

    /// Returns the sooner of the call's deadline and the request's own.
    fn deadline(&self, of_call: Option<Instant>, now: Instant) -> Option<Instant> {
        let own = self.timeout_us.and_then(|timeout| now.checked_add(Duration::from_micros(timeout)));
        match (of_call, own) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// As `scheduling.item.level_of`.
    fn level(&self) -> u8 {
        if self.priority == 0 { DEFAULT_LEVEL } else { self.priority.min(LOWEST_PRIORITY) as u8 }
    }

    /// Says whether protobuf can read the contents, which `parse` has not looked into: `prepare` does that.
    fn is_sound(&self) -> bool {
        self.inputs.iter().filter_map(|input| input.contents).all(contents::are_sound)
    }

    fn prepare(&self, signature: &Signature) -> Option<Prepared> {
        super::prepare(self, signature)
    }

    fn fits(&self, by: Answerer<'_>, request_id: usize, outputs: &[Output<'_>]) -> bool {
        by.view.head(by.decision).is_some_and(|head| super::fits(head, self.id, request_id, outputs))
    }

    fn answer(&self, by: Answerer<'_>, request_id: &str, outputs: &[Output<'_>]) -> Option<Bytes> {
        super::encode(by.view.head(by.decision)?, self.id, request_id, outputs)
    }
}

impl<'a> Input<'a> {
    fn is_typed(&self) -> bool {
        self.contents.is_some()
    }

    /// Reads an input. One with parameters may be in shared memory, and contents in parts are to be put together.
    fn read(message: &'a [u8]) -> Result<Self, Odd> {
        let mut input = Self::default();
        let mut fields = Fields::of(message);
        while let Some((number, value)) = fields.next_field()? {
            match (number, value) {
                (1, _) => input.name = value.text()?,
                (2, _) => input.datatype = value.text()?,
                (3, Value::Varint(size)) => input.axis(size)?,
                (3, Value::Bytes(packed)) => {
                    let mut sizes = Fields::of(packed);
                    while let Some(size) = sizes.next_varint()? {
                        input.axis(size)?;
                    }
                }
                (5, Value::Bytes(contents)) if input.contents.is_none() => input.contents = Some(contents),
                (3..=5, _) => return Err(Odd),
                _ => {}
            }
        }
        Ok(input)
    }

    fn axis(&mut self, size: u64) -> Result<(), Odd> {
        if self.shape.len() == AXES_LIMIT {
            return Err(Odd);
        }
        self.shape.push(size as i64); // an int64 travels as its two's complement
        Ok(())
    }
}

/// Reads the name of an output that is wanted. One with parameters goes to shared memory, or is a classification.
fn read_output(message: &[u8]) -> Result<&str, Odd> {
    let mut name = "";
    let mut fields = Fields::of(message);
    while let Some((number, value)) = fields.next_field()? {
        match number {
            1 => name = value.text()?,
            2 => return Err(Odd),
            _ => {}
        }
    }
    if within(name, NAME_LIMIT) { Ok(name) } else { Err(Odd) }
}

fn push<T>(list: &mut Vec<T>, one: T) -> Result<(), Odd> {
    if list.len() == TENSOR_LIMIT {
        return Err(Odd);
    }
    list.push(one);
    Ok(())
}

impl<'a> Parameters<'a> {
    /// Reads one entry of the map. Protobuf drops an entry with a field that it does not know, so that is odd.
    fn read(&mut self, entry: &'a [u8]) -> Result<(), Odd> {
        let (mut key, mut parameter) = (None, None);
        let mut fields = Fields::of(entry);
        while let Some((number, value)) = fields.next_field()? {
            match number {
                1 if key.is_none() => key = Some(value.text()?),
                2 if parameter.is_none() => parameter = Some(Parameter::read(value.bytes()?)?),
                _ => return Err(Odd),
            }
        }
        let place = match key.unwrap_or_default() {
            "unit_id" => &mut self.unit,
            "timeout" => &mut self.timeout,
            "priority" => &mut self.priority,
            "binary_data_output" => &mut self.raw_answer,
            "sequence_id" => &mut self.sequence,
            "triton_enable_empty_final_response" => &mut self.wants_final,
            _ => return Ok(()),
        };
        *place = Some(parameter.unwrap_or(Parameter::Nothing));
        Ok(())
    }

    /// Returns the unit; numbers count as their decimal text.
    fn unit(&self) -> Result<Option<Cow<'a, str>>, Odd> {
        match self.unit {
            None => Ok(None),
            Some(Parameter::Text(unit)) => Ok(Some(Cow::Borrowed(unit))),
            Some(Parameter::Signed(number)) => Ok(Some(Cow::Owned(number.to_string()))),
            Some(Parameter::Unsigned(number)) => Ok(Some(Cow::Owned(number.to_string()))),
            Some(_) => Err(Odd),
        }
    }

    /// Says whether the answer is to be raw, and the request is no part of a sequence.
    fn are_plain(&self) -> bool {
        matches!(self.raw_answer, None | Some(Parameter::Bool(true)))
            && matches!(
                self.sequence,
                None | Some(Parameter::Signed(0)) | Some(Parameter::Unsigned(0)) | Some(Parameter::Text(""))
            )
    }
}

impl<'a> Parameter<'a> {
    fn read(message: &'a [u8]) -> Result<Self, Odd> {
        let mut parameter = Parameter::Nothing;
        let mut fields = Fields::of(message);
        while let Some((number, value)) = fields.next_field()? {
            parameter = match (number, value) {
                (1, Value::Varint(value)) => Parameter::Bool(value != 0),
                (2, Value::Varint(value)) => Parameter::Signed(value as i64),
                (3, _) => Parameter::Text(value.text()?),
                (4, Value::Fixed(_)) => Parameter::Double,
                (5, Value::Varint(value)) => Parameter::Unsigned(value),
                (1..=5, _) => return Err(Odd),
                _ => continue,
            };
        }
        Ok(parameter)
    }
}

/// Returns a parameter that counts something.
fn count(parameter: Option<Parameter<'_>>) -> Result<Option<u64>, Odd> {
    match parameter {
        None => Ok(None),
        Some(Parameter::Signed(number)) => u64::try_from(number).map(Some).map_err(|_| Odd),
        Some(Parameter::Unsigned(number)) => Ok(Some(number)),
        Some(_) => Err(Odd),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oip::testing::{head, message, with_parameter};

    const X: (&str, &str, &[i64], &[u8]) = ("x", "FP32", &[1, 1], &[0; 4]);

    fn parses(message: Vec<u8>) -> bool {
        InferRequest::parse(&Bytes::from(message), &head(&[])).is_some()
    }

    #[test]
    fn an_ordinary_request_is_read_in_full() {
        let mut given = message("m", &[X, ("y", "INT64", &[-1, 1 << 40], b"abc")]);
        given.extend_from_slice(b"\x12\x013\x1a\x02id\x32\x03\x0a\x01y");
        let given = with_parameter(given, "unit_id", b"\x1a\x01u");
        let given = with_parameter(given, "timeout", b"\x10\x07");
        let (given, head) = (Bytes::from(with_parameter(given, "priority", b"\x28\x63")), head(&[]));
        let request = InferRequest::parse(&given, &head).unwrap();
        assert_eq!((request.name, request.version, request.id, request.request_id), ("m", "3", "id", "id"));
        assert_eq!((&*request.unit, request.timeout_us, request.priority, request.level()), ("u", Some(7), 99, 10));
        assert_eq!(request.inputs[1], Input { name: "y", datatype: "INT64", shape: vec![-1, 1 << 40], contents: None });
        assert_eq!((request.outputs, &request.raw[1][..]), (vec!["y"], &b"abc"[..]));
    }

    #[test]
    fn the_metadata_speak_where_the_request_does_not() {
        let head = head(&[("x-turnout-unit", "theirs"), ("x-request-id", "r")]);
        let silent = Bytes::from(message("m", &[X]));
        let request = InferRequest::parse(&silent, &head).unwrap();
        assert_eq!((&*request.unit, request.id, request.request_id), ("theirs", "", "r"));
        let numbered = Bytes::from(with_parameter(message("m", &[X]), "unit_id", b"\x10\x2a"));
        assert_eq!(InferRequest::parse(&numbered, &head).unwrap().unit, "42");
    }

    #[test]
    fn what_python_has_to_look_at_is_declined() {
        let plain = message("m", &[X]);
        assert!(parses(plain.clone()));
        assert!(!parses(message("", &[X])), "no name");
        assert!(!parses(message(&"n".repeat(257), &[X])));
        for (key, value) in [
            ("unit_id", &b"\x08\x01"[..]),                                // a bool
            ("unit_id", b""),                                             // nothing
            ("unit_id", b"\x1a\x01\xff"),                                 // not UTF-8
            ("other", b"\x1a\x01\xff"),                                   // which counts everywhere
            ("timeout", b"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), // -1
            ("priority", b"\x1a\x011"),                                   // a text
            ("binary_data_output", b"\x08\x00"),                          // a typed answer
            ("binary_data_output", b"\x10\x01"),                          // no bool
            ("sequence_id", b"\x10\x01"),
        ] {
            assert!(!parses(with_parameter(plain.clone(), key, value)), "{key} {value:?}");
        }
        for tail in [
            &b"\x2a\x04\x0a\x00\x2a\x00\x3a\x00"[..], // typed contents, and raw ones
            b"\x2a\x04\x0a\x00\x22\x00\x3a\x00",      // an input with parameters
            b"\x32\x02\x12\x00",                      // an output with parameters
            b"\x3a\x00",                              // more raw contents than inputs
            b"\x22\x02\x18\x01",                      // an entry of a map with more than a key and a value
            b"\x08\x01",                              // a name that is a number
        ] {
            assert!(!parses([&plain, tail].concat()), "{tail:?}");
        }
        for tail in [&b"\x22\x00"[..], b"\x58\x01", b"\x5a\x01x", b"\x22\x07\x0a\x01k\x12\x02\x08\x01"] {
            assert!(parses([&plain, tail].concat()), "{tail:?} is for others");
        }
    }

    #[test]
    fn there_are_only_so_many_tensors() {
        let tails: [&[u8]; 3] = [b"\x32\x00", b"\x3a\x00", b"\x2a\x00"];
        for tail in tails {
            let given = [message("m", &[]), tail.repeat(TENSOR_LIMIT + 1)].concat();
            assert!(!parses(given));
        }
        assert!(parses([message("m", &[]), tails[0].repeat(TENSOR_LIMIT)].concat()));
    }

    #[test]
    fn the_sooner_deadline_counts() {
        let (given, head) = (Bytes::from(with_parameter(message("m", &[X]), "timeout", b"\x10\x05")), head(&[]));
        let request = InferRequest::parse(&given, &head).unwrap();
        let now = Instant::now();
        let own = now + Duration::from_micros(5);
        assert_eq!(request.deadline(None, now), Some(own));
        assert_eq!(request.deadline(Some(now), now), Some(now));
        assert_eq!(request.deadline(Some(own + Duration::from_micros(1)), now), Some(own));
        let endless = InferRequest { timeout_us: Some(u64::MAX), ..request };
        assert!(endless.deadline(Some(now), now) == Some(now));
    }
}
