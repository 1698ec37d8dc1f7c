//! Files read once more, sign by sign.

/// The records of a table.
pub struct Scan {
    /// Each with the line on which it begins; lines without anything are none.
    pub records: Vec<(u32, Vec<String>)>,
    /// Whether the last quotation mark is closed.
    pub is_closed: bool,
}

impl Scan {
    /// The records with something in them, but for the header.
    pub fn rows(&self) -> impl Iterator<Item = &(u32, Vec<String>)> {
        self.records.iter().skip(1).filter(|(_, cells)| cells.iter().any(|cell| !cell.is_empty()))
    }
}

/// Where in a cell the next sign is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Start,
    Plain,
    Quoted,
    /// Behind a quotation mark that closes the cell, unless it is doubled.
    Mark,
}

/// A table whose cells this sign separates.
pub fn table(text: &str, delimiter: char) -> Scan {
    let mut records = Vec::new();
    let (mut cells, mut cell) = (Vec::new(), String::new());
    let (mut at, mut line, mut first_line) = (At::Start, 1, None);
    let mut signs = text.chars().peekable();
    while let Some(sign) = signs.next() {
        let is_break = sign == '\n' || sign == '\r';
        if at == At::Quoted || !is_break {
            first_line.get_or_insert(line);
        }
        match (at, sign) {
            (At::Quoted, '"') => at = At::Mark,
            (At::Start, '"') => at = At::Quoted,
            (At::Mark, '"') => {
                cell.push(sign);
                at = At::Quoted;
            }
            (At::Quoted, _) => cell.push(sign),
            _ if sign == delimiter => {
                cells.push(std::mem::take(&mut cell));
                at = At::Start;
            }
            _ if is_break => {
                if let Some(first_line) = first_line.take() {
                    cells.push(std::mem::take(&mut cell));
                    records.push((first_line, std::mem::take(&mut cells)));
                }
                at = At::Start;
            }
            _ => {
                cell.push(sign);
                at = At::Plain;
            }
        }
        line += u32::from(is_break && !(sign == '\r' && signs.peek() == Some(&'\n')));
    }
    if let Some(first_line) = first_line {
        cells.push(cell);
        records.push((first_line, cells));
    }
    Scan { records, is_closed: at != At::Quoted }
}

/// The lines with something in them, each with its number.
pub fn lines(text: &str) -> Vec<(u32, &str)> {
    (1..).zip(text.split('\n')).filter(|(_, line)| !line.chars().all(char::is_whitespace)).collect()
}
