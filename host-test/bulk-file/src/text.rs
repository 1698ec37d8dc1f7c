//! What messages say of text from elsewhere.

use std::borrow::Cow;

/// Text from elsewhere on one line, without anything that a terminal would obey and without what reorders text: nobody's words
/// can look like a message of this program.
pub fn one_line(text: &str) -> Cow<'_, str> {
    let is_hidden = |char: char| {
        char.is_control() || matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if text.contains(is_hidden) { text.replace(is_hidden, "\u{fffd}").into() } else { text.into() }
}

/// A name from the file. What looks like an address is not repeated: the cells of a row may have slipped.
pub fn quoted(name: &str) -> String {
    const LONGEST: usize = 60;
    if name.contains('@') {
        return "(an address)".into();
    }
    let short: String = name.chars().take(LONGEST).collect();
    let more = if short.len() < name.len() { "…" } else { "" };
    format!("`{}{more}`", one_line(&short))
}

/// The candidate that was probably meant.
#[must_use]
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    candidates
        .map(|candidate| (strsim::jaro_winkler(&name, &candidate.to_lowercase()), candidate))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}
