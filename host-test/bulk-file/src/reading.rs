//! From the bytes of a file to its rows: a table, or lines of JSON.

use std::collections::HashSet;

use csv::{ReaderBuilder, StringRecord};
use serde_json::{Map, Value};

use crate::mistakes::{Mistake, Mistakes};
use crate::operations::{Cell, Column, Default, OPERATION, Operations, Spelling, Type};
use crate::text::quoted;

/// The most operations.
pub const MOST_ROWS: usize = 1_000_000;
/// The longest row, in bytes; a quotation mark that is not closed swallows the rest of a table.
pub const LONGEST_ROW: usize = 1 << 20;

/// One operation of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// The line of the file on which it begins; a spreadsheet numbers its rows in the same way.
    pub number: u32,
    /// Which operation it is.
    pub operation: usize,
    /// The operation in the component's JSON form, without what is left out: the same text for the same operation.
    pub json: Box<str>,
}

/// How to read a file.
pub struct Reading<'a, T> {
    /// What the rows can be.
    pub operations: &'a Operations<T>,
    /// The operation of the rows that name none.
    pub operation: Option<usize>,
    /// What rows leave out.
    pub defaults: Vec<Default>,
    /// Columns that say nothing.
    pub ignored: &'a [String],
    /// Between the cells of a table; found out when absent.
    pub delimiter: Option<u8>,
}

impl<T: Type> Reading<'_, T> {
    /// The operations of a table with a header line.
    pub fn table(&mut self, bytes: &[u8]) -> Result<Vec<Row>, Mistakes> {
        let mut rows = Rows::default();
        self.records(text(bytes)?, &mut rows)?;
        rows.finish()
    }

    /// The operations of JSON lines.
    pub fn lines(&mut self, bytes: &[u8]) -> Result<Vec<Row>, Mistakes> {
        let mut rows = Rows::default();
        self.objects(text(bytes)?, &mut rows);
        rows.finish()
    }

    fn records(&mut self, text: &str, rows: &mut Rows) -> Result<(), Mistakes> {
        let delimiter = self.delimiter.unwrap_or_else(|| delimiter(text));
        let mut builder = ReaderBuilder::new();
        builder.has_headers(false).flexible(true).delimiter(delimiter);
        let mut reader = builder.from_reader(text.as_bytes());
        let mut lines = Lines::new(text);
        let mut record = StringRecord::new();
        let mut header: Option<Header> = None;
        let (mut number, mut start) = (0, 0);
        // Reading from memory, and text, cannot fail.
        while !rows.is_full() && matches!(reader.read_record(&mut record), Ok(true)) {
            start = record.position().map_or(0, csv::Position::byte);
            number = lines.number_at(start);
            match &header {
                None => header = Some(self.header(&record, number)?),
                Some(_) if record.iter().all(str::is_empty) => {}
                Some(header) => rows.add(number, self.record(header, &record)),
            }
        }
        let last = usize::try_from(start).ok().and_then(|start| text.get(start..)).unwrap_or_default();
        if rows.wrong != Some(number) && !is_closed(&builder, last) {
            rows.add(number, Err(Mistake::of_row("a quotation mark is not closed")));
        }
        match header {
            None => Err(Mistakes::single(1, "there is no header line, and nothing else")),
            Some(_) => Ok(()),
        }
    }

    fn header(&self, record: &StringRecord, line: u32) -> Result<Header, Mistakes> {
        if record.iter().any(|name| name.contains('@')) && !record.iter().any(|name| name.starts_with("property")) {
            return Err(Mistakes::single(line, "this has to be a header line with the names of the columns"));
        }
        if record.as_slice().len() > LONGEST_ROW {
            return Err(Mistakes::single(line, too_long("; is a quotation mark not closed?").problem));
        }
        let mut seen = HashSet::new();
        let mut header = Header { names: Vec::new(), columns: Vec::new(), operation: None };
        let mut mistakes = Mistakes::default();
        for (index, name) in record.iter().map(str::trim).enumerate() {
            let column = match name {
                "" => Ok(Column::Ignored),
                name if self.ignored.iter().any(|ignored| ignored == name) => Ok(Column::Ignored),
                name => self.operations.column(name, Spelling::Kebab),
            };
            match column {
                Ok(Column::Ignored) => header.columns.push(Column::Ignored),
                Ok(column) if !seen.insert(column.clone()) => {
                    mistakes.add(line, Mistake::of_row(format!("the column {} is there twice", quoted(name))));
                }
                Ok(column) => {
                    if column == Column::Operation {
                        header.operation = Some(index);
                    }
                    header.columns.push(column);
                }
                Err(problem) => mistakes.add(line, Mistake::of_row(format!("column {}: {problem}", index + 1))),
            }
            header.names.push(name.to_owned());
        }
        if mistakes.count > 0 { Err(mistakes) } else { Ok(header) }
    }

    fn record(&mut self, header: &Header, record: &StringRecord) -> Result<(usize, Value), Mistake> {
        if record.as_slice().len() > LONGEST_ROW {
            return Err(too_long("; is a quotation mark not closed?"));
        }
        if record.iter().skip(header.columns.len()).any(|cell| !cell.is_empty()) {
            let (cells, columns) = (record.len(), header.columns.len());
            return Err(Mistake::of_row(format!("{cells} cells for {columns} columns")));
        }
        let unnamed = header.names.iter().zip(record).any(|(name, cell)| name.is_empty() && !cell.is_empty());
        if unnamed {
            return Err(Mistake::of_row("a cell stands in a column without a name"));
        }
        let named = header.operation.and_then(|index| record.get(index)).filter(|name| !name.is_empty());
        let operation = self.operation(named)?;
        let cells = header.names.iter().zip(&header.columns).zip(record);
        let cells = cells.filter(|(_, cell)| !cell.is_empty());
        let cells = cells.map(|((name, column), cell)| (name.as_str(), column, Cell::Text(cell)));
        let value = self.operations.build(operation, cells, &mut self.defaults, Spelling::Kebab)?;
        Ok((operation, value))
    }

    fn objects(&mut self, text: &str, rows: &mut Rows) {
        for (number, line) in (1..).zip(text.lines()) {
            if rows.is_full() {
                return;
            }
            if !line.trim().is_empty() {
                rows.add(number, self.line(line));
            }
        }
    }

    fn line(&mut self, line: &str) -> Result<(usize, Value), Mistake> {
        if line.len() > LONGEST_ROW {
            return Err(too_long(""));
        }
        let value = serde_json::from_str(line).map_err(|error| {
            let kind = if error.is_eof() { "it ends early" } else { "it does not have the form" };
            Mistake::of_row(format!("this is not JSON: {kind}, column {}", error.column()))
        })?;
        let Value::Object(object) = value else { return Err(Mistake::of_row("this is not an object")) };
        let (name, fields) = if object.contains_key("tag") { tagged(object)? } else { flat(object)? };
        let operation = self.operation(name.as_deref())?;
        let mut cells = Vec::new();
        for (key, value) in fields {
            let key = match key {
                // The payload of a tag that is no object stands for the only field.
                None => self
                    .operations
                    .get(operation)
                    .bare()
                    .ok_or_else(|| Mistake::of_row("`val` has to be an object"))?
                    .to_owned(),
                Some(key) => key,
            };
            if self.ignored.contains(&key) || value.is_null() {
                continue;
            }
            let column = self.operations.column(&key, Spelling::Camel).map_err(Mistake::of_row)?;
            cells.push((key, column, value));
        }
        let cells = cells.iter_mut().map(|(key, column, value)| (key.as_str(), &*column, Cell::Json(value.take())));
        let value = self.operations.build(operation, cells, &mut self.defaults, Spelling::Camel)?;
        Ok((operation, value))
    }

    fn operation(&self, named: Option<&str>) -> Result<usize, Mistake> {
        let at = |problem: String| Mistake::at(OPERATION, problem);
        match named {
            Some(name) => self.operations.named(name).map_err(at),
            None => self.operation.ok_or_else(|| at("missing: name it in the file, or by --operation".into())),
        }
    }
}

/// The columns of a table.
struct Header {
    names: Vec<String>,
    columns: Vec<Column>,
    /// Which of them names the operation.
    operation: Option<usize>,
}

/// The rows that were read, or what is wrong with them.
#[derive(Default)]
struct Rows {
    good: Vec<Row>,
    mistakes: Mistakes,
    /// The number of the last one.
    last: u32,
    /// The number of the last one with a mistake.
    wrong: Option<u32>,
}

impl Rows {
    fn add(&mut self, number: u32, row: Result<(usize, Value), Mistake>) {
        self.last = number;
        match row {
            Ok((operation, value)) => self.good.push(Row { number, operation, json: value.to_string().into() }),
            Err(mistake) => {
                self.wrong = Some(number);
                self.mistakes.add(number, mistake);
            }
        }
    }

    /// Whether there are more rows than are allowed.
    fn is_full(&self) -> bool {
        self.good.len() + self.mistakes.count > MOST_ROWS
    }

    fn finish(self) -> Result<Vec<Row>, Mistakes> {
        if self.is_full() {
            return Err(Mistakes::single(self.last, format!("there are more than {MOST_ROWS} rows before; split the file")));
        }
        if self.mistakes.count > 0 { Err(self.mistakes) } else { Ok(self.good) }
    }
}

/// An operation's name, and the fields with their keys; no key for a payload that is no object.
type Parts = (Option<String>, Vec<(Option<String>, Value)>);

/// Takes `{"tag": …, "val": …}` apart.
fn tagged(mut object: Map<String, Value>) -> Result<Parts, Mistake> {
    let Some(Value::String(name)) = object.remove("tag") else { return Err(Mistake::of_row("`tag` has to be text")) };
    let fields = match object.remove("val") {
        Some(Value::Object(fields)) => fields.into_iter().map(|(key, value)| (Some(key), value)).collect(),
        Some(value) => vec![(None, value)],
        None => Vec::new(),
    };
    match object.keys().next() {
        Some(key) => Err(Mistake::of_row(format!("{} is not known beside `tag` and `val`", quoted(key)))),
        None => Ok((Some(name), fields)),
    }
}

/// Takes `{"operation": …, …}` apart.
fn flat(mut object: Map<String, Value>) -> Result<Parts, Mistake> {
    let name = match object.remove(OPERATION) {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) => Some(name),
        Some(_) => return Err(Mistake::at(OPERATION, "expected text")),
    };
    Ok((name, object.into_iter().map(|(key, value)| (Some(key), value)).collect()))
}

fn too_long(more: &str) -> Mistake {
    Mistake::of_row(format!("longer than {} KiB{more}", LONGEST_ROW >> 10))
}

/// The file as text, without the mark that some editors put before it.
fn text(bytes: &[u8]) -> Result<&str, Mistakes> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Err(error) => {
            let good = &bytes[..error.valid_up_to()];
            // What comes before the mistake is text.
            let line = Lines::new(std::str::from_utf8(good).unwrap_or_default()).number_at(good.len() as u64);
            Err(Mistakes::single(line, "this is not UTF-8 text; a spreadsheet saves it as \"CSV UTF-8\""))
        }
    }
}

/// Whether no quotation mark is open where a table ends. Such a mark swallows rows, or shows that the file broke off, and the
/// reader does not mind; but then what is added belongs to the last record. Marks cannot be counted: within a cell they are
/// signs like others.
fn is_closed(builder: &ReaderBuilder, last: &str) -> bool {
    let longer = format!("{last}\nmore");
    last.is_empty() || builder.from_reader(longer.as_bytes()).into_records().nth(1).is_some()
}

/// What stands between the names of the header line.
fn delimiter(text: &str) -> u8 {
    let mut counts = [(b',', 0_usize), (b';', 0), (b'\t', 0)];
    let mut in_quotes = false;
    let mut starts_cell = true;
    for byte in text.trim_start_matches(['\r', '\n']).bytes() {
        // Within a cell it is a sign like others, and two of them within a quoted cell are one.
        in_quotes ^= byte == b'"' && (in_quotes || starts_cell);
        if !in_quotes && matches!(byte, b'\r' | b'\n') {
            break;
        }
        let count = counts.iter_mut().find(|(delimiter, _)| *delimiter == byte && !in_quotes);
        starts_cell = byte == b'"' || count.is_some();
        if let Some((_, count)) = count {
            *count += 1;
        }
    }
    // Of equals, the first.
    counts.into_iter().rev().max_by_key(|(_, count)| *count).map_or(b',', |(delimiter, _)| delimiter)
}

/// Counts the lines up to places in a text. They end as each system ends them.
struct Lines<'a> {
    text: &'a [u8],
    at: usize,
    number: u32,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        Self { text: text.as_bytes(), at: 0, number: 1 }
    }

    /// The line of the first character from this byte on that is no line break. Bytes come in ascending order.
    fn number_at(&mut self, byte: u64) -> u32 {
        let byte = usize::try_from(byte).unwrap_or(usize::MAX);
        while let Some(&char) = self.text.get(self.at) {
            let breaks = char == b'\n' || char == b'\r';
            if self.at >= byte && !breaks {
                break;
            }
            let pair = char == b'\r' && self.text.get(self.at + 1) == Some(&b'\n');
            self.number = self.number.saturating_add(u32::from(breaks && !pair));
            self.at += 1;
        }
        self.number
    }
}
