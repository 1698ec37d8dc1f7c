//! Answers as text.

use memberspot_core::transport::{Fault, Incoming};

/// Keys of different kinds: a usual one, one that JSON has to escape, one beyond ASCII, and one that was pasted with spaces,
/// which no header keeps.
const KEYS: [&str; 4] = ["mk-4711-Secret.Key", r#"mk"47\11/key"#, "schlüssel-4711-ß", "  mk-4711-padded "];

/// What must never be quoted of a body: it stands for a login token, and for whatever a stranger's page has.
pub const PRIVATE: &str = "eyPrivate-4711-Token";

/// More than this is not repeated: a list over the limit fits, and inputs stay quick.
const MOST_BYTES: usize = 256 << 10;

/// The answers to one call.
///
/// The text begins with the number of the key in a line. Then come the answers, separated by lines of `%%`; when there are no
/// more, the last one is repeated. An answer has a line with its status or the name of a fault; the name of a fault may also
/// follow the status, for a body that breaks off, and so may a number, for a list of so many times the body. Headers, an
/// empty line and the body follow.
///
/// Four signs stand for what is hard to find by chance: `$` for the key, `~` for the key in escapes of JSON, `^` for the key
/// with every other character in escapes, and in bodies `&` for [`PRIVATE`].
pub struct Script {
    /// The configured key.
    pub key: &'static str,
    answers: Vec<Reply>,
    /// Whether [`PRIVATE`] stands in bodies alone.
    pub keeps_private: bool,
}

/// One exchange.
enum Reply {
    Fault(Fault),
    Answer { status: u16, headers: Vec<(String, Vec<u8>)>, body: Vec<u8>, fault: Option<Fault> },
}

impl Script {
    /// Reads a script; any bytes are one.
    pub fn parse(input: &[u8]) -> Self {
        let (first, rest) = split(input, b"\n");
        let number = first.first().map_or(0, |byte| usize::from(*byte));
        let key = KEYS[number % KEYS.len()];
        let mut answers = vec![];
        let mut rest = rest;
        while !rest.is_empty() && answers.len() < 10 {
            let (answer, more) = split(rest, b"\n%%\n");
            answers.push(Reply::parse(answer, key));
            rest = more;
        }
        Self { key, answers, keeps_private: !input.windows(PRIVATE.len()).any(|part| part == PRIVATE.as_bytes()) }
    }

    /// What comes back from an exchange.
    pub fn answer(&self, number: usize) -> Result<Incoming, Fault> {
        match self.answers.get(number).or(self.answers.last()) {
            None => Err(Fault::Refused),
            Some(Reply::Fault(fault)) => Err(*fault),
            Some(Reply::Answer { status, headers, body, fault }) => {
                Ok(Incoming { status: *status, headers: headers.clone(), body: body.clone(), fault: *fault })
            }
        }
    }
}

impl Reply {
    fn parse(text: &[u8], key: &str) -> Self {
        let (head, body) = split(text, b"\n\n");
        let (first, headers) = split(head, b"\n");
        let first = String::from_utf8_lossy(first);
        let mut words = first.split_whitespace();
        let status = words.next().unwrap_or_default();
        if let Some(fault) = fault(status) {
            return Self::Fault(fault);
        }
        let (mut broken, mut times) = (None, None);
        for word in words {
            broken = broken.or(fault(word));
            times = times.or(word.parse::<usize>().ok());
        }
        let headers = headers.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(|line| {
            let (name, value) = split(line, b":");
            (String::from_utf8_lossy(name).into_owned(), planted(value.trim_ascii(), key))
        });
        let body = planted(body, key);
        let body = replaced(&body, b'&', PRIVATE.as_bytes());
        let body = times.map_or_else(|| body.clone(), |times| list(&body, times));
        Self::Answer { status: status.parse().unwrap_or(200), headers: headers.collect(), body, fault: broken }
    }
}

fn fault(word: &str) -> Option<Fault> {
    Some(match word {
        "dns" => Fault::Dns,
        "refused" => Fault::Refused,
        "denied" => Fault::Denied,
        "certificate" => Fault::Certificate,
        "timed-out" => Fault::TimedOut,
        "deadline" => Fault::DeadlineBeforeSending,
        "broken" => Fault::Broken,
        "too-large" => Fault::TooLarge,
        "unsendable" => Fault::Unsendable,
        _ => return None,
    })
}

/// What is before a separator, and what is after it.
fn split<'a>(text: &'a [u8], separator: &[u8]) -> (&'a [u8], &'a [u8]) {
    match text.windows(separator.len()).position(|part| part == separator) {
        Some(at) => (&text[..at], &text[at + separator.len()..]),
        None => (text, &[]),
    }
}

/// A text with the key in place of its signs. A server sees the key without the spaces around it.
fn planted(text: &[u8], key: &str) -> Vec<u8> {
    let key = key.trim();
    let text = replaced(text, b'$', key.as_bytes());
    let text = replaced(&text, b'~', escaped(key, 1).as_bytes());
    replaced(&text, b'^', escaped(key, 2).as_bytes())
}

/// A text as JSON may spell it, with each or every other character in escapes.
fn escaped(text: &str, step: usize) -> String {
    let spell = |(index, unit): (usize, u16)| match u8::try_from(unit) {
        Ok(byte) if index % step != 0 && byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        _ => format!("\\u{unit:04x}"),
    };
    text.encode_utf16().enumerate().map(spell).collect()
}

fn replaced(text: &[u8], sign: u8, by: &[u8]) -> Vec<u8> {
    text.split(|byte| *byte == sign).collect::<Vec<_>>().join(by)
}

/// A list of so many times the same item.
fn list(item: &[u8], times: usize) -> Vec<u8> {
    let times = times.min(MOST_BYTES / (item.len() + 1));
    let items = vec![item; times].join(&b',');
    [b"[", items.as_slice(), b"]"].concat()
}
