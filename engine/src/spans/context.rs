//! W3C trace context (https://www.w3.org/TR/trace-context/), as far as the engine reads it.

pub type TraceId = [u8; 16];
pub type SpanId = [u8; 8];

/// A span, as others refer to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    pub trace: TraceId,
    pub span: SpanId,
    pub sampled: bool,
}

impl Context {
    /// Reads a `traceparent` of the version of today, in its one spelling; None for every other text.
    pub fn parse(traceparent: &str) -> Option<Self> {
        let text: &[u8; 55] = traceparent.as_bytes().try_into().ok()?;
        if !text.starts_with(b"00-") || text[35] != b'-' || text[52] != b'-' {
            return None;
        }
        let (trace, span, [flags]) = (unhex(&text[3..35])?, unhex(&text[36..52])?, unhex::<1>(&text[53..55])?);
        Some(Self { trace, span, sampled: flags & 1 != 0 })
    }

    /// Says whether there is such a span: zeros are nobody's.
    pub fn is_valid(&self) -> bool {
        self.trace != [0; 16] && self.span != [0; 8]
    }
}

/// A span of Python's that others are below.
#[derive(Clone, Debug)]
pub struct Parent {
    pub context: Context,
    /// `tracestate`.
    pub state: String,
}

impl Parent {
    /// Returns the span that a `traceparent` and a `tracestate` of our own name; None where they name none.
    pub fn new(traceparent: &str, state: String) -> Option<Self> {
        let context = Context::parse(traceparent).filter(Context::is_valid)?;
        Some(Self { context, state })
    }
}

/// Returns the id of the trace that a `traceparent` names, whatever its version; zeros where it is malformed.
///
/// The twin of `journal.columns.trace_id`.
pub fn trace_id(traceparent: &str) -> TraceId {
    // Characters, as Python counts them; behind the first two there are only single bytes.
    let Some((from, _)) = traceparent.char_indices().nth(2) else { return [0; 16] };
    let text = &traceparent.as_bytes()[from..];
    if text.len() < 34 || text[0] != b'-' || text[33] != b'-' {
        return [0; 16];
    }
    unhex(&text[1..33]).unwrap_or_default()
}

/// Characters of a `tracestate`; of longer ones Python reads nothing either.
const LONGEST: usize = 512;
const MOST_MEMBERS: usize = 32;

/// Returns a `tracestate` as it is passed on; None where it is so unusual that Python has to read it.
pub fn state(text: &str) -> Option<String> {
    if text.len() > LONGEST {
        return text.is_ascii().then(String::new);
    }
    let members = text.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|member| !member.is_empty());
    let mut keys: Vec<&str> = Vec::new();
    let mut state = String::new();
    for member in members {
        let (key, value) = member.split_once('=').filter(|(key, value)| is_key(key) && is_value(value))?;
        if keys.contains(&key) || keys.len() == MOST_MEMBERS {
            return None;
        }
        keys.push(key);
        if !state.is_empty() {
            state.push(',');
        }
        state.push_str(member);
        debug_assert_eq!(member.len(), key.len() + 1 + value.len());
    }
    Some(state)
}

/// Says whether a key is plain; the standard has some that are not, of several tenants, and Python reads them.
fn is_key(key: &str) -> bool {
    let others = |character: u8| matches!(character, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/');
    key.len() <= 256 && key.as_bytes().first().is_some_and(u8::is_ascii_lowercase) && key.bytes().all(others)
}

fn is_value(value: &str) -> bool {
    let plain = |character: u8| matches!(character, b' '..=b'~') && character != b'=';
    !value.is_empty() && value.len() <= 256 && value.bytes().all(plain)
}

/// Reads hexadecimal digits in lower case, two for each byte.
fn unhex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn a_traceparent_of_today_is_read() {
        let found = Context::parse(&format!("00-{TRACE}-b7ad6b7169203331-03")).unwrap();
        assert_eq!((found.trace[0], found.trace[15], found.span[0], found.sampled), (0x0a, 0x9c, 0xb7, true));
        assert!(found.is_valid());
        let zeros = Context::parse(&format!("00-{}-b7ad6b7169203331-02", "0".repeat(32))).unwrap();
        assert_eq!((zeros.is_valid(), zeros.sampled), (false, false));
    }

    #[test]
    fn every_other_one_is_not() {
        for text in [
            String::new(),
            format!("01-{TRACE}-b7ad6b7169203331-01"),
            format!("00-{TRACE}-b7ad6b7169203331-01-x"),
            format!(" 00-{TRACE}-b7ad6b7169203331-01"),
            format!("00-{}-b7ad6b7169203331-01", TRACE.to_uppercase()),
            format!("00-{TRACE}_b7ad6b7169203331-01"),
            format!("00-{TRACE}-b7ad6b716920333g-01"),
        ] {
            assert_eq!(Context::parse(&text), None, "{text}");
        }
    }

    #[test]
    fn a_tracestate_is_passed_on_without_what_is_between_its_members() {
        assert_eq!(state("").as_deref(), Some(""));
        assert_eq!(state(" a=1 ,, \tb_-*/2=x y,").as_deref(), Some("a=1,b_-*/2=x y"));
        assert_eq!(state(&"a".repeat(LONGEST + 1)).as_deref(), Some(""));
    }

    #[test]
    fn an_odd_tracestate_is_left_to_python() {
        for odd in ["a", "A=1", "=1", "a=", "a=1,a=2", "1@a=2", "a=b=c", "ü=1", "a=ü"] {
            assert_eq!(state(odd), None, "{odd}");
        }
        let many = |count: usize| (0..count).map(|number| format!("k{number}=1")).collect::<Vec<_>>().join(",");
        assert!(state(&many(MOST_MEMBERS)).is_some());
        assert_eq!(state(&many(MOST_MEMBERS + 1)), None);
        assert_eq!(state(&"ü".repeat(300)), None, "bytes are not characters");
    }

    #[test]
    fn a_journal_wants_the_traces_id_of_other_versions_too() {
        let wanted = Context::parse(&format!("00-{TRACE}-b7ad6b7169203331-01")).unwrap().trace;
        for text in [format!("00-{TRACE}-"), format!("cc-{TRACE}-b7ad6b7169203331-01-x"), format!("üü-{TRACE}-ü")] {
            assert_eq!(trace_id(&text), wanted, "{text}");
        }
        for text in ["".into(), "00".into(), "00-".into(), format!("00-{TRACE}"), format!("00-ü{}-", &TRACE[2..])] {
            assert_eq!(trace_id(&text), [0; 16], "{text}");
        }
    }
}
