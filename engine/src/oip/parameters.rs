//! A request's parameters: a map of names to values of several kinds.

use std::borrow::Cow;

use super::wire::{Fields, Odd, Value};

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
pub struct Parameters<'a> {
    unit: Option<Parameter<'a>>,
    timeout: Option<Parameter<'a>>,
    priority: Option<Parameter<'a>>,
    wants_final: Option<Parameter<'a>>,
    raw_answer: Option<Parameter<'a>>,
    sequence: Option<Parameter<'a>>,
}

impl<'a> Parameters<'a> {
    /// Reads one entry of the map. Protobuf drops an entry with a field that it does not know, so that is odd.
    pub fn read(&mut self, entry: &'a [u8]) -> Result<(), Odd> {
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
    pub fn unit(&self) -> Result<Option<Cow<'a, str>>, Odd> {
        match self.unit {
            None => Ok(None),
            Some(Parameter::Text(unit)) => Ok(Some(Cow::Borrowed(unit))),
            Some(Parameter::Signed(number)) => Ok(Some(Cow::Owned(number.to_string()))),
            Some(Parameter::Unsigned(number)) => Ok(Some(Cow::Owned(number.to_string()))),
            Some(_) => Err(Odd),
        }
    }

    /// Returns how long the caller waits, in microseconds.
    pub fn timeout(&self) -> Result<Option<u64>, Odd> {
        count(self.timeout)
    }

    /// Returns Triton's priority.
    pub fn priority(&self) -> Result<Option<u64>, Odd> {
        count(self.priority)
    }

    /// Says whether the answer's form is asked for, which is raw where they are plain.
    pub fn ask_for_raw(&self) -> bool {
        self.raw_answer.is_some()
    }

    /// Says whether a stream's answer is to say that it is the request's last.
    pub fn ask_for_a_last(&self) -> bool {
        matches!(self.wants_final, Some(Parameter::Bool(true)))
    }

    /// Says whether the answer is to be raw or may be, and the request is no part of a sequence.
    pub fn are_plain(&self) -> bool {
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
