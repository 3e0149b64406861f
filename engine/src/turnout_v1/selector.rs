//! `Selector`: whom a typed request asks, and on whose behalf.

use crate::call::Head;
use crate::decide::ask::{Ask, UNIT_LIMIT, within};
use crate::oip::request::{REQUEST_ID_KEY, UNIT_KEY};
use crate::oip::wire::{Fields, Odd};

/// Whom a request asks.
#[derive(Debug, Default)]
pub struct Selector<'a> {
    name: &'a str,
    version: &'a str,
    unit: &'a str,
    request_id: &'a str,
}

impl<'a> Selector<'a> {
    /// Reads one more part of the selector: what it sets counts.
    pub fn read(&mut self, message: &'a [u8]) -> Result<(), Odd> {
        let mut fields = Fields::of(message);
        while let Some((number, value)) = fields.next_field()? {
            match number {
                1 => self.name = value.text()?,
                2 => self.version = value.text()?,
                3 => self.unit = value.text()?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes from the metadata what the request itself does not say, and checks all of it.
    pub fn complete(&mut self, head: &'a Head) -> Result<(), Odd> {
        if self.unit.is_empty() {
            self.unit = head.get(UNIT_KEY).unwrap_or_default();
        }
        self.request_id = head.get(REQUEST_ID_KEY).unwrap_or_default();
        if within(self.request_id, UNIT_LIMIT) && self.ask(head).is_some() { Ok(()) } else { Err(Odd) }
    }

    pub fn ask<'b>(&'b self, head: &'b Head) -> Option<Ask<'b>> {
        Ask::new(self.name, self.version, self.unit, &head.metadata)
    }

    pub fn request_id(&self) -> &str {
        self.request_id
    }
}
