//! Percent-encoding, read independently of the component.

/// A text as a server reads it that decodes so many times. A percent sign without two hexadecimal digits stays.
pub fn decoded(text: &str, times: usize) -> String {
    (0..times).fold(text.to_owned(), |text, _| once(text.as_bytes()))
}

fn once(mut text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    while let Some((first, rest)) = text.split_first() {
        let byte = (*first == b'%').then(|| rest.get(..2).and_then(hexadecimal)).flatten();
        bytes.push(byte.unwrap_or(*first));
        text = if byte.is_some() { &rest[2..] } else { rest };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hexadecimal(digits: &[u8]) -> Option<u8> {
    let value = |digit: u8| char::from(digit).to_digit(16);
    let (high, low) = (value(*digits.first()?)?, value(*digits.get(1)?)?);
    u8::try_from(high * 16 + low).ok()
}
