//! Files of operations: tables and JSON lines, read as a whole and checked row by row before anything is sent.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use clap::ValueEnum;
use csv::{ReaderBuilder, StringRecord};
use serde_json::{Map, Value};

use super::operations::{Cell, Column, Default, Mistake, OPERATION, Operations, Spelling, quoted};
use crate::cli::output::one_line;

/// The largest file, in bytes. It is held in memory.
pub const LARGEST_FILE: u64 = 256 << 20;
/// The most operations.
pub const MOST_ROWS: usize = 1_000_000;
/// The longest row, in bytes; a quotation mark that is not closed swallows the rest of a table.
pub const LONGEST_ROW: usize = 1 << 20;
/// How many mistakes are listed.
pub const MOST_LISTED: usize = 20;

/// The form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table with a header line.
    Csv,
    /// An operation in each line.
    Jsonl,
}

impl Format {
    /// The form that the name of a file promises.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "csv" | "tsv" => Some(Self::Csv),
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            _ => None,
        }
    }
}

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
pub struct Reading<'a> {
    pub operations: &'a Operations,
    /// The operation of the rows that name none.
    pub operation: Option<usize>,
    pub defaults: Vec<Default>,
    /// Columns that say nothing.
    pub ignored: &'a [String],
    /// Between the cells of a table; found out when absent.
    pub delimiter: Option<u8>,
}

/// What is wrong with a file, row by row: the first mistakes, and how many more there are.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Mistakes {
    /// Each with the number of its row.
    pub listed: Vec<(u32, Mistake)>,
    /// How many there are.
    pub count: usize,
}

impl Mistakes {
    pub fn add(&mut self, row: u32, mistake: Mistake) {
        self.count += 1;
        if self.listed.len() < MOST_LISTED {
            self.listed.push((row, mistake));
        }
    }

    fn single(row: u32, problem: impl fmt::Display) -> Self {
        let mut mistakes = Self::default();
        mistakes.add(row, Mistake { place: None, problem: problem.to_string() });
        mistakes
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (row, mistake) in &self.listed {
            write!(f, "\n  row {row}")?;
            if let Some(place) = &mistake.place {
                write!(f, ", `{}`", one_line(place))?;
            }
            write!(f, ": {}", one_line(&mistake.problem))?;
        }
        match self.count - self.listed.len() {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

/// The bytes of a file, or of standard input.
pub fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let too_large = || {
        let problem = format!("it is larger than {} MiB; split it", LARGEST_FILE >> 20);
        io::Error::new(io::ErrorKind::FileTooLarge, problem)
    };
    let mut bytes = Vec::new();
    let bound = LARGEST_FILE + 1;
    if path == Path::new("-") {
        io::stdin().lock().take(bound).read_to_end(&mut bytes)?;
    } else {
        let file = File::open(path)?;
        // A pipe has no length, and a file may grow.
        if file.metadata()?.len() > LARGEST_FILE {
            return Err(too_large());
        }
        file.take(bound).read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 > LARGEST_FILE { Err(too_large()) } else { Ok(bytes) }
}

impl Reading<'_> {
    /// The operations of a file.
    pub fn read(&mut self, bytes: &[u8], format: Format) -> Result<Vec<Row>, Mistakes> {
        let text = text(bytes)?;
        let mut rows = Rows::default();
        match format {
            Format::Csv => self.table(text, &mut rows)?,
            Format::Jsonl => self.lines(text, &mut rows),
        }
        rows.finish()
    }

    fn table(&mut self, text: &str, rows: &mut Rows) -> Result<(), Mistakes> {
        let delimiter = self.delimiter.unwrap_or_else(|| delimiter(text));
        let mut reader =
            ReaderBuilder::new().has_headers(false).flexible(true).delimiter(delimiter).from_reader(text.as_bytes());
        let mut lines = Lines::new(text);
        let mut record = StringRecord::new();
        let mut header: Option<Header> = None;
        let mut number = 0;
        let mut breaks_lines = false;
        // Reading from memory, and text, cannot fail.
        while !rows.is_full() && matches!(reader.read_record(&mut record), Ok(true)) {
            number = lines.number_at(record.position().map_or(0, csv::Position::byte));
            breaks_lines = record.as_slice().contains(['\r', '\n']);
            match &header {
                None => header = Some(self.header(&record, number)?),
                Some(_) if record.iter().all(str::is_empty) => {}
                Some(header) => rows.add(number, self.record(header, &record)),
            }
        }
        // Such a mark swallows the rest of the file, and the crate does not mind.
        if breaks_lines && text.bytes().filter(|byte| *byte == b'"').count() % 2 == 1 {
            rows.add(number, Err(mistake("a quotation mark is not closed")));
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
                Ok(column) if header.columns.contains(&column) => {
                    mistakes.add(line, mistake(format!("the column {} is there twice", quoted(name))));
                }
                Ok(column) => {
                    if column == Column::Operation {
                        header.operation = Some(index);
                    }
                    header.columns.push(column);
                }
                Err(problem) => mistakes.add(line, mistake(format!("column {}: {problem}", index + 1))),
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
            return Err(mistake(format!("{cells} cells for {columns} columns")));
        }
        let unnamed = header.names.iter().zip(record).any(|(name, cell)| name.is_empty() && !cell.is_empty());
        if unnamed {
            return Err(mistake("a cell stands in a column without a name"));
        }
        let named = header.operation.and_then(|index| record.get(index)).filter(|name| !name.is_empty());
        let operation = self.operation(named)?;
        let cells = header.names.iter().zip(&header.columns).zip(record);
        let cells = cells.filter(|(_, cell)| !cell.is_empty());
        let cells = cells.map(|((name, column), cell)| (name.as_str(), column, Cell::Text(cell)));
        let value = self.operations.build(operation, cells, &mut self.defaults, Spelling::Kebab)?;
        Ok((operation, value))
    }

    fn lines(&mut self, text: &str, rows: &mut Rows) {
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
            mistake(format!("this is not JSON: {kind}, column {}", error.column()))
        })?;
        let Value::Object(object) = value else { return Err(mistake("this is not an object")) };
        let (name, fields) = if object.contains_key("tag") { tagged(object)? } else { flat(object)? };
        let operation = self.operation(name.as_deref())?;
        let mut cells = Vec::new();
        for (key, value) in fields {
            let key = match key {
                // The payload of a tag that is no object stands for the only field.
                None => self.operations.get(operation).bare().ok_or_else(|| mistake("`val` has to be an object"))?.to_owned(),
                Some(key) => key,
            };
            if self.ignored.contains(&key) || value.is_null() {
                continue;
            }
            let column = self.operations.column(&key, Spelling::Camel).map_err(mistake)?;
            cells.push((key, column, value));
        }
        let cells = cells.iter_mut().map(|(key, column, value)| (key.as_str(), &*column, Cell::Json(value.take())));
        let value = self.operations.build(operation, cells, &mut self.defaults, Spelling::Camel)?;
        Ok((operation, value))
    }

    fn operation(&self, named: Option<&str>) -> Result<usize, Mistake> {
        let at = |problem| Mistake { place: Some(OPERATION.into()), problem };
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
}

impl Rows {
    fn add(&mut self, number: u32, row: Result<(usize, Value), Mistake>) {
        self.last = number;
        match row {
            Ok((operation, value)) => self.good.push(Row { number, operation, json: value.to_string().into() }),
            Err(mistake) => self.mistakes.add(number, mistake),
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
    let Some(Value::String(name)) = object.remove("tag") else { return Err(mistake("`tag` has to be text")) };
    let fields = match object.remove("val") {
        Some(Value::Object(fields)) => fields.into_iter().map(|(key, value)| (Some(key), value)).collect(),
        Some(value) => vec![(None, value)],
        None => Vec::new(),
    };
    match object.keys().next() {
        Some(key) => Err(mistake(format!("{} is not known beside `tag` and `val`", quoted(key)))),
        None => Ok((Some(name), fields)),
    }
}

/// Takes `{"operation": …, …}` apart.
fn flat(mut object: Map<String, Value>) -> Result<Parts, Mistake> {
    let name = match object.remove(OPERATION) {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) => Some(name),
        Some(_) => return Err(Mistake { place: Some(OPERATION.into()), problem: "expected text".into() }),
    };
    Ok((name, object.into_iter().map(|(key, value)| (Some(key), value)).collect()))
}

fn mistake(problem: impl fmt::Display) -> Mistake {
    Mistake { place: None, problem: problem.to_string() }
}

fn too_long(more: &str) -> Mistake {
    mistake(format!("longer than {} KiB{more}", LONGEST_ROW >> 10))
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

/// What stands between the names of the header line.
fn delimiter(text: &str) -> u8 {
    let header = text.trim_start_matches(['\r', '\n']).lines().next().unwrap_or_default();
    let mut counts = [(b',', 0_usize), (b';', 0), (b'\t', 0)];
    let mut in_quotes = false;
    for byte in header.bytes() {
        in_quotes ^= byte == b'"';
        if let Some((_, count)) = counts.iter_mut().find(|(delimiter, _)| *delimiter == byte && !in_quotes) {
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

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use csv::WriterBuilder;
    use memberspot_host::Host;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn operations() -> &'static Operations {
        static OPERATIONS: OnceLock<Operations> = OnceLock::new();
        OPERATIONS.get_or_init(|| Operations::new(&Host::new().unwrap()).unwrap())
    }

    fn reading() -> Reading<'static> {
        Reading { operations: operations(), operation: None, defaults: Vec::new(), ignored: &[], delimiter: None }
    }

    /// The numbers and the operations of the rows.
    fn good(reading: &mut Reading, bytes: impl AsRef<[u8]>, format: Format) -> Vec<(u32, Value)> {
        let rows = reading.read(bytes.as_ref(), format).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        rows.iter().map(|row| (row.number, serde_json::from_str(&row.json).unwrap())).collect()
    }

    /// The numbers and the places of the mistakes.
    fn bad(reading: &mut Reading, bytes: impl AsRef<[u8]>, format: Format) -> Vec<(u32, Option<String>)> {
        let mistakes = reading.read(bytes.as_ref(), format).unwrap_err();
        assert_eq!(mistakes.listed.len(), mistakes.count.min(MOST_LISTED));
        mistakes.listed.into_iter().map(|(row, mistake)| (row, mistake.place)).collect()
    }

    fn grant(number: u32, email: &str) -> (u32, Value) {
        (number, json!({"tag": "grantAccess", "val": {"email": email, "offerId": "o"}}))
    }

    #[test]
    fn tables_come_in_many_shapes() {
        for table in [
            "operation,email,offer-id\ngrant-access,a,o\ngrantAccess,b,o",
            "operation,email,offerId\r\ngrant-access,a,o\r\ngrant-access,b,o\r\n",
            "\u{feff}operation;email;offer-id\ngrant-access;a;o\ngrant-access;b;o\n",
            "operation\temail\toffer-id\ngrant-access\ta\to\ngrant-access\tb\to\n",
            "operation,email,offer-id,order-id,\rgrant-access,a,o,,\rgrant-access,b,o\r",
            "\" operation\";\"email\";\"offer-id\"\n\"grant-access\";\"a\";\"o\"\ngrant-access;b;o",
            "offer-id,operation,course-id,email\no,grant-access,,a\no,grant-access,,b\n",
        ] {
            assert_eq!(good(&mut reading(), table, Format::Csv), [grant(2, "a"), grant(3, "b")], "{table:?}");
        }
        let mut piped = Reading { delimiter: Some(b'|'), ..reading() };
        let table = "operation|email|offer-id\ngrant-access|a,;b|o";
        assert_eq!(good(&mut piped, table, Format::Csv), [grant(2, "a,;b")]);
    }

    #[test]
    fn rows_are_numbered_as_in_the_file() {
        for line_end in ["\n", "\r\n", "\r"] {
            let lines = ["", "email,offer-id,last-name", "a,o,", "", ",,", "b,o,\"x", "y\"", "", "c,o,"];
            let mut reading = Reading { operation: operations().named("grant-access").ok(), ..reading() };
            let rows = good(&mut reading, lines.join(line_end), Format::Csv);
            assert_eq!(rows.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [3, 6, 9], "{line_end:?}");
            assert_eq!(rows[1].1["val"]["lastName"], format!("x{line_end}y"));
        }
    }

    #[test]
    fn lines_of_json_come_in_two_forms() {
        let lines = r#"
            {"tag": "grantAccess", "val": {"offerId": "o", "email": "a", "orderId": null}}
            {"operation": "grant-access", "email": "b", "offerId": "o"}
            {"operation": "grantAccess", "email": "c", "offer-id": "o", "firstName": null}"#;
        assert_eq!(good(&mut reading(), lines, Format::Jsonl), [grant(2, "a"), grant(3, "b"), grant(4, "c")]);

        let deletion = (1, json!({"tag": "deleteUser", "val": "a"}));
        for line in [r#"{"tag": "deleteUser", "val": "a"}"#, r#"{"operation": "delete-user", "email": "a"}"#] {
            assert_eq!(good(&mut reading(), line, Format::Jsonl), std::slice::from_ref(&deletion), "{line}");
        }
        assert_eq!(good(&mut reading(), "operation,email\ndelete-user,a", Format::Csv)[0].1, deletion.1);
    }

    #[test]
    fn properties_have_columns_of_their_own() {
        let table = "operation;email;property:My Level;property-id:p1\nset-properties;a;pro;\nset-properties;b;;\"x;y\"\n";
        let value = |by: &str, property: &str, value: &str| json!([{"property": {"tag": by, "val": property}, "value": value}]);
        let rows = good(&mut reading(), table, Format::Csv);
        assert_eq!(rows[0].1["val"], json!({"email": "a", "values": value("name", "My Level", "pro")}));
        assert_eq!(rows[1].1["val"], json!({"email": "b", "values": value("id", "p1", "x;y")}));

        let line = json!({"tag": "setProperties", "val": {"email": "a", "values": value("name", "My Level", "pro")}});
        assert_eq!(good(&mut reading(), line.to_string(), Format::Jsonl)[0].1, rows[0].1);
        let empty = "operation,email,property:x\nset-properties,a,";
        assert_eq!(bad(&mut reading(), empty, Format::Csv), [(2, Some("values".into()))]);
    }

    #[test]
    fn what_is_left_out_can_be_given_for_all() {
        let defaults = ["offer-id=o", "property:x=1"].map(|text| operations().default(text).unwrap());
        let mut reading =
            Reading { operation: operations().named("grant-access").ok(), defaults: defaults.into(), ..reading() };
        let table = "email,offer-id,operation\na,,\nb,p,\nc,,set-properties\n";
        let rows = good(&mut reading, table, Format::Csv);
        assert_eq!(rows[0], grant(2, "a"));
        assert_eq!(rows[1].1["val"]["offerId"], "p");
        assert_eq!(rows[2].1["val"]["values"][0]["value"], "1");
        assert!(reading.defaults.iter().all(|default| default.fits));
        assert_eq!(good(&mut reading, r#"{"email": "a"}"#, Format::Jsonl), [grant(1, "a")]);

        for default in &mut reading.defaults {
            default.fits = false;
        }
        good(&mut reading, "email\na", Format::Csv);
        assert_eq!(reading.defaults.iter().map(|default| default.fits).collect::<Vec<_>>(), [true, false]);
        for text in ["offer-id", "offerid=o", "operation=delete-user", "property:=1"] {
            assert!(operations().default(text).is_err(), "{text}");
        }
    }

    #[test]
    fn each_mistake_has_its_place() {
        let header = "operation,email,offer-id,course-id\n";
        for (row, place) in [
            ("grant-acces,a,o,", Some("operation")),
            (",a,o,", Some("operation")),
            ("grant-access,,o,", Some("email")),
            ("grant-access,a,,", Some("offer-id")),
            ("grant-access,a,o,c", Some("course-id")),
            ("delete-user,a,o,", Some("offer-id")),
            ("grant-access,a,o,,x", None),
            ("grant-access,a,\"o,\n", None),
        ] {
            let table = format!("{header}grant-access,a,o,\n{row}");
            assert_eq!(bad(&mut reading(), table, Format::Csv), [(3, place.map(str::to_owned))], "{row}");
        }
        for (line, place) in [
            ("{", None),
            ("[]", None),
            ("{}", Some("operation")),
            (r#"{"operation": 1}"#, Some("operation")),
            (r#"{"operation": "find-user", "email": "a"}"#, Some("operation")),
            (r#"{"operation": "grant-access", "email": "a"}"#, Some("offerId")),
            (r#"{"operation": "delete-user", "email": "a", "offerId": "o"}"#, Some("offerId")),
            (r#"{"operation": "delete-user", "email": 1}"#, None),
            (r#"{"operation": "delete-user", "mail": "a"}"#, None),
            (r#"{"tag": "deleteUser", "val": "a", "email": "a"}"#, None),
            (r#"{"tag": "deleteUser"}"#, Some("email")),
            (r#"{"tag": 1}"#, None),
            (r#"{"tag": "grantAccess", "val": "a"}"#, None),
        ] {
            assert_eq!(bad(&mut reading(), line, Format::Jsonl), [(1, place.map(str::to_owned))], "{line}");
        }
    }

    #[test]
    fn a_header_is_read_before_any_row() {
        for header in [
            "operation,email,offerid",
            "operation,email,email",
            "offer-id,offerId",
            "grant-access,ada@example.com,o",
            "property:,email",
            "operation,email,Telefon",
        ] {
            let rows = bad(&mut reading(), format!("{header}\nx,y,z\n"), Format::Csv);
            assert!(rows.iter().all(|(row, _)| *row <= 2) && rows.len() == 1, "{header}: {rows:?}");
        }
        assert_eq!(bad(&mut reading(), "", Format::Csv), [(1, None)]);
        let ignored = ["Telefon".to_owned()];
        let mut reading = Reading { ignored: &ignored, ..reading() };
        let table = "operation,email,offer-id,Telefon\ngrant-access,a,o,0123\n";
        assert_eq!(good(&mut reading, table, Format::Csv), [grant(2, "a")]);
        let line = r#"{"operation": "grant-access", "email": "a", "offerId": "o", "Telefon": 1}"#;
        assert_eq!(good(&mut reading, line, Format::Jsonl), [grant(1, "a")]);
    }

    #[test]
    fn mistakes_do_not_repeat_addresses() {
        for (text, format) in [
            ("grant-access,ada@example.com,o", Format::Csv),
            ("operation,email\nada@example.com,grant-access", Format::Csv),
            (r#"{"operation": "ada@example.com"}"#, Format::Jsonl),
            (r#"{"operation": "grant-access", "ada@example.com": "o"}"#, Format::Jsonl),
            (r#"{"operation": "delete-user", "email": ["ada@example.com"]}"#, Format::Jsonl),
            (r#"{"tag": "deleteUser", "ada@example.com": "o"}"#, Format::Jsonl),
        ] {
            let mistakes = reading().read(text.as_bytes(), format).unwrap_err().to_string();
            assert!(!mistakes.contains("ada"), "{mistakes}");
        }
    }

    #[test]
    fn all_mistakes_are_counted_and_the_first_are_listed() {
        let table = format!("operation,email\n{}", "no-such,a\n".repeat(25));
        let mistakes = reading().read(table.as_bytes(), Format::Csv).unwrap_err();
        assert_eq!((mistakes.count, mistakes.listed.len()), (25, MOST_LISTED));
        assert_eq!((mistakes.listed[0].0, mistakes.listed[19].0), (2, 21));
        assert!(mistakes.to_string().ends_with("\n  and 5 more"), "{mistakes}");
    }

    #[test]
    fn bounds_are_kept() {
        let long = "x".repeat(LONGEST_ROW + 1);
        let table = format!("operation,email\ndelete-user,a\ndelete-user,\"{long}");
        assert_eq!(bad(&mut reading(), table, Format::Csv), [(3, None)]);
        let line = format!(r#"{{"operation": "delete-user", "email": "{long}"}}"#);
        assert_eq!(bad(&mut reading(), line, Format::Jsonl), [(1, None)]);

        let mistakes = reading().read("1\n".repeat(MOST_ROWS + 2).as_bytes(), Format::Jsonl).unwrap_err();
        assert_eq!((mistakes.count, mistakes.listed[0].0), (1, u32::try_from(MOST_ROWS).unwrap() + 1));

        let path = std::env::temp_dir().join(format!("memberspot-bulk-{}.csv", std::process::id()));
        File::create(&path).unwrap().set_len(LARGEST_FILE + 1).unwrap();
        assert_eq!(bytes(&path).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn other_encodings_are_refused_by_line() {
        assert_eq!(bad(&mut reading(), b"operation,email\ndelete-user,\xfc", Format::Csv), [(2, None)]);
        assert_eq!(bad(&mut reading(), b"\xff\xfeo\0", Format::Csv), [(1, None)]);
    }

    /// Who deletes by mistake is not helped by a test that fails: what asks for consent is written down twice.
    #[test]
    fn what_deletes_is_known() {
        let is_destructive = |name: &str| {
            let operation = operations().get(operations().named(name).unwrap());
            operation.destructive
        };
        for name in ["delete-access", "delete-order-access", "delete-user"] {
            assert!(is_destructive(name), "{name}");
        }
        for name in ["grant-access", "revoke-access", "restore-order-access", "set-properties", "enable-chapter-access"] {
            assert!(!is_destructive(name), "{name}");
        }
    }

    /// Pieces that make input look like the real thing.
    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        let pieces = prop::sample::select(vec![
            "operation",
            "email",
            "offer-id",
            "property:a",
            ",",
            ";",
            "\t",
            "\n",
            "\r\n",
            "\r",
            "\"",
            "grant-access",
            "delete-user",
            "{",
            "}",
            ":",
            "\"tag\"",
            "\"val\"",
            "\"grantAccess\"",
            "null",
            "[",
            "]",
            "\u{feff}",
            "@",
            "ä",
        ]);
        let piece = prop_oneof![9 => pieces.prop_map(|piece| piece.as_bytes().to_vec()), 1 => any::<Vec<u8>>()];
        prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes in pieces()) {
            for format in [Format::Csv, Format::Jsonl] {
                match reading().read(&bytes, format) {
                    Ok(rows) => prop_assert!(rows.windows(2).all(|pair| pair[0].number < pair[1].number)),
                    Err(mistakes) => prop_assert!(mistakes.count > 0 && !mistakes.to_string().is_empty()),
                }
            }
        }

        #[test]
        fn what_a_table_says_arrives(
            cells in prop::collection::vec(("\\PC{1,9}", "[ -~\n\"äß]{1,9}"), 1..9),
            delimiter in prop::sample::select(vec![b',', b';', b'\t']),
        ) {
            let mut writer = WriterBuilder::new().delimiter(delimiter).from_writer(Vec::new());
            writer.write_record(["operation", "email", "offer-id"]).unwrap();
            for (email, offer) in &cells {
                writer.write_record(["revoke-access", email, offer]).unwrap();
            }
            let rows = good(&mut reading(), writer.into_inner().unwrap(), Format::Csv);
            prop_assert_eq!(rows.len(), cells.len());
            for ((_, row), (email, offer)) in rows.iter().zip(&cells) {
                prop_assert_eq!(&row["val"], &json!({"email": email, "offerId": offer}));
            }
        }
    }
}
