//! Whom a caller asks: the twin of `vocabulary/ask.py`.

use crate::metadata::Metadata;

/// Characters of a name or a version that are worth looking up.
pub const NAME_LIMIT: usize = 256;
/// Characters of a unit, or of a request's id.
pub const UNIT_LIMIT: usize = 1024;

/// Whom a caller asks, and on whose behalf: all that routing needs to know, and within its bounds.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    name: &'a str,
    version: &'a str,
    unit: &'a str,
    headers: &'a Metadata,
}

impl<'a> Ask<'a> {
    /// Returns whom is asked; None where the name is empty, or a name, version or unit is longer than allowed.
    ///
    /// `name` is a route or a model, `version` empty, a number or a label, and `unit` may be empty. `headers` are the
    /// request's metadata.
    pub fn new(name: &'a str, version: &'a str, unit: &'a str, headers: &'a Metadata) -> Option<Self> {
        let fits =
            !name.is_empty() && within(name, NAME_LIMIT) && within(version, NAME_LIMIT) && within(unit, UNIT_LIMIT);
        fits.then_some(Self { name, version, unit, headers })
    }

    /// A route, or a model.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// Empty, a version number, or a label; setting it pins the request.
    pub fn version(&self) -> &'a str {
        self.version
    }

    /// What the assignment sticks to; may be empty.
    pub fn unit(&self) -> &'a str {
        self.unit
    }

    /// Returns the value of a metadata key in lower case.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.get(name)
    }
}

/// Says whether `text` has at most `limit` characters; Python counts those, not bytes.
pub fn within(text: &str, limit: usize) -> bool {
    text.len() <= limit || (text.len() <= 4 * limit && text.chars().count() <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_count_and_not_bytes() {
        assert!(within(&"ü".repeat(UNIT_LIMIT), UNIT_LIMIT));
        assert!(within(&"🚉".repeat(UNIT_LIMIT), UNIT_LIMIT));
        assert!(!within(&"ü".repeat(UNIT_LIMIT + 1), UNIT_LIMIT));
        assert!(!within(&"x".repeat(UNIT_LIMIT + 1), UNIT_LIMIT));
    }

    #[test]
    fn what_is_too_long_asks_nobody() {
        let long = "n".repeat(NAME_LIMIT + 1);
        let none = Metadata::default();
        assert!(Ask::new("", "", "", &none).is_none());
        assert!(Ask::new(&long, "", "", &none).is_none());
        assert!(Ask::new("m", &long, "", &none).is_none());
        assert!(Ask::new("m", "", &"u".repeat(UNIT_LIMIT + 1), &none).is_none());
        assert!(Ask::new(&long[1..], &long[1..], &"u".repeat(UNIT_LIMIT), &none).is_some());
    }
}
