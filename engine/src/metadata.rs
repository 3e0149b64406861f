//! What a caller says beside its messages.

/// Names in lower case and values, as `transport.call.Call.metadata` has them: text only, without HTTP/2's and gRPC's own
/// fields, in the order in which they came.
///
/// All of it is in one piece: every call has some, and most is only ever looked up.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    text: String,
    /// Where a name ends and where its value does, which begins there.
    ends: Vec<(usize, usize)>,
}

impl Metadata {
    /// Begins with nothing, and room for so many values and bytes.
    pub fn with_capacity(values: usize, bytes: usize) -> Self {
        Self { text: String::with_capacity(bytes), ends: Vec::with_capacity(values) }
    }

    /// Adds a value.
    pub fn push(&mut self, name: &str, value: &str) {
        self.text.push_str(name);
        let name_ends = self.text.len();
        self.text.push_str(value);
        self.ends.push((name_ends, self.text.len()));
    }

    /// Returns the value of a name in lower case, the last of several.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().rev().find(|&(found, _)| found == name).map(|(_, value)| value)
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &str)> {
        (0..self.ends.len()).map(|place| {
            let begins = place.checked_sub(1).map_or(0, |before| self.ends[before].1);
            let (name_ends, ends) = self.ends[place];
            (&self.text[begins..name_ends], &self.text[name_ends..ends])
        })
    }
}

impl<Name: AsRef<str>, Value: AsRef<str>> FromIterator<(Name, Value)> for Metadata {
    fn from_iter<All: IntoIterator<Item = (Name, Value)>>(pairs: All) -> Self {
        let mut metadata = Self::default();
        pairs.into_iter().for_each(|(name, value)| metadata.push(name.as_ref(), value.as_ref()));
        metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_values_the_last_counts() {
        let pairs = [("a", "1"), ("", ""), ("b", "2"), ("a", "3")];
        let metadata = Metadata::from_iter(pairs);
        assert_eq!(metadata.iter().collect::<Vec<_>>(), pairs);
        let found = ["a", "b", "", "c", "ab"].map(|name| metadata.get(name));
        assert_eq!(found, [Some("3"), Some("2"), Some(""), None, None]);
    }
}
