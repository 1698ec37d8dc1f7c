//! Inputs as text.

/// Stands for a line break within a field, since fields are lines.
const LINE_BREAK: &str = "␤";

/// The fields of an input: its lines.
pub fn fields(input: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(input).split('\n').map(field).collect()
}

/// One field.
pub fn field(line: &str) -> String {
    line.replace(LINE_BREAK, "\n")
}
