//! The files of `memberspot bulk`.

use std::collections::BTreeSet;

use csv::{QuoteStyle, Terminator, Writer, WriterBuilder};
use memberspot_bulk_file::{
    mistakes::{MOST_LISTED, Mistakes},
    operations::Operations,
    reading::{Reading, Row},
};
use serde_json::{Map, Value, json};

use self::{
    operations::{ALL, Kind, operations},
    scan::Scan,
};

mod operations;
mod scan;

/// What is found out by itself, and one sign that is not.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];
const LINE_ENDS: [Terminator; 3] = [Terminator::Any(b'\n'), Terminator::CRLF, Terminator::Any(b'\r')];
/// More than any line of a message takes: the names of all columns, and 60 signs of what the file says.
const LONGEST_MESSAGE: usize = 400;

type Outcome = Result<Vec<Row>, Mistakes>;

/// Input: a file, read as a table with each delimiter and as JSON lines, with and without options of the command line.
pub fn run(input: &[u8]) {
    let operations = operations();
    let ignored = ["note".to_owned()];
    let plain = || reading(&operations);
    let with_options = || Reading {
        operation: operations.named("grant-access").ok(),
        defaults: ["offer-id=o1", "property:Level=1"].map(|text| operations.default(text).expect("a column")).into(),
        ignored: &ignored,
        ..plain()
    };
    let Ok(text) = std::str::from_utf8(input) else {
        for refusal in [plain().table(input), plain().lines(input)] {
            let mistakes = refusal.expect_err("this is not text");
            assert_eq!(mistakes.count, 1);
            refused(&mistakes, &[line_of_the_first_other_byte(input)]);
        }
        return;
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let table = plain().table(input);
    let found =
        DELIMITERS[..3].iter().any(|delimiter| Reading { delimiter: Some(*delimiter), ..plain() }.table(input) == table);
    assert!(found, "the delimiter that was found is none of them");
    // The reader of tables passes over a mark of its own.
    let in_table = text.strip_prefix('\u{feff}').unwrap_or(text);
    for delimiter in DELIMITERS {
        let scan = scan::table(in_table, delimiter.into());
        for (is_plain, reading) in [(true, plain()), (false, with_options())] {
            let outcome = Reading { delimiter: Some(delimiter), ..reading }.table(input);
            rows_of_table(&outcome, &scan);
            again(&operations, &outcome);
            if is_plain {
                cells_arrive(&outcome, &scan);
                quoted_is_the_same(&operations, &outcome, &scan);
            }
        }
    }
    rows_of_lines(text, plain);
    rows_of_lines(text, with_options);
    again(&operations, &plain().lines(input));
}

/// The line with the first byte that belongs to no text.
fn line_of_the_first_other_byte(input: &[u8]) -> u32 {
    let text = input.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    let breaks = text.replace("\r\n", "\n").matches(['\n', '\r']).count();
    1 + u32::try_from(breaks).unwrap_or(u32::MAX)
}

/// No row is lost, doubled, or numbered otherwise than in the file.
fn rows_of_table(outcome: &Outcome, scan: &Scan) {
    let expected: Vec<_> = scan.rows().map(|(line, _)| *line).collect();
    match outcome {
        Ok(rows) => {
            assert!(scan.is_closed && !scan.records.is_empty());
            assert!(rows.iter().map(|row| row.number).eq(expected), "{rows:?}");
        }
        Err(mistakes) => {
            let header = scan.records.first();
            // A cell that is open at the end is refused even where nothing is in it.
            let open = scan.records.last().filter(|_| !scan.is_closed).map(|(line, _)| *line);
            let header_line = header.map_or(1, |(line, _)| *line);
            let lines: Vec<_> = [header_line].into_iter().chain(expected).chain(open).collect();
            refused(mistakes, &lines);
            let most = header.map_or(0, |(_, names)| names.len()) + lines.len() + 1;
            assert!(mistakes.count <= most, "{mistakes}");
        }
    }
}

/// What is wrong is said briefly, by rows that the file has, and without the addresses in it.
fn refused(mistakes: &Mistakes, lines: &[u32]) {
    assert!(mistakes.count > 0);
    assert_eq!(mistakes.listed.len(), mistakes.count.min(MOST_LISTED));
    assert!(mistakes.listed.is_sorted_by_key(|(row, _)| row), "{mistakes}");
    assert!(mistakes.listed.iter().all(|(row, _)| lines.contains(row)), "{mistakes}");
    let message = mistakes.to_string();
    let more = usize::from(mistakes.count > MOST_LISTED);
    assert_eq!(message.lines().count(), 1 + mistakes.listed.len() + more, "{message}");
    assert!(
        message.lines().all(|line| line.chars().count() <= LONGEST_MESSAGE && !line.contains(char::is_control)),
        "{message}"
    );
    assert!(!message.contains('@'), "{message}");
}

/// What the cells of a row say is what its operation says.
fn cells_arrive(outcome: &Outcome, scan: &Scan) {
    let (Ok(rows), Some((_, names))) = (outcome, scan.records.first()) else { return };
    let names: Vec<_> = names.iter().map(|name| name.trim()).collect();
    // A cell of JSON may be spelled otherwise.
    if names.contains(&"values") || names.contains(&"days") {
        return;
    }
    for (row, (_, cells)) in rows.iter().zip(scan.rows()) {
        let given = names.iter().zip(cells).filter(|(name, cell)| **name != "operation" && !cell.is_empty());
        let mut given: Vec<_> = given.map(|(_, cell)| cell.clone()).collect();
        let mut arrived: Vec<_> = cells_of(&value(row)).into_iter().map(|(_, cell)| cell).collect();
        given.sort_unstable();
        arrived.sort_unstable();
        assert_eq!(arrived, given);
    }
}

/// The same table with every cell in quotation marks says the same, whichever delimiter is between them.
fn quoted_is_the_same(operations: &Operations<Kind>, outcome: &Outcome, scan: &Scan) {
    // Without a delimiter in the header line there is none to be found out.
    if !scan.is_closed || scan.records.first().is_none_or(|(_, names)| names.len() < 2) {
        return;
    }
    for delimiter in &DELIMITERS[..3] {
        let mut writer = writer(*delimiter, LINE_ENDS[0], QuoteStyle::Always);
        for (_, cells) in &scan.records {
            writer.write_record(cells).expect("cells");
        }
        let quoted = reading(operations).table(&bytes(writer));
        assert_eq!(without_numbers(&quoted), without_numbers(outcome));
    }
}

/// Each line says the same alone.
fn rows_of_lines<'a>(text: &str, reading: impl Fn() -> Reading<'a, Kind>) {
    let lines = scan::lines(text);
    // Only the mark at the very beginning is none of the text.
    let alone = lines.iter().map(|(_, line)| reading().lines(format!("\u{feff}{line}").as_bytes()));
    let alone: Vec<_> = alone.collect();
    let wrong = alone.iter().filter(|outcome| outcome.is_err()).count();
    match reading().lines(text.as_bytes()) {
        Ok(rows) => {
            assert!(rows.iter().map(|row| row.number).eq(lines.iter().map(|(line, _)| *line)), "{rows:?}");
            let alone = alone.into_iter().flat_map(|outcome| outcome.expect("a line of a good file"));
            assert!(rows.iter().map(|row| &row.json).eq(alone.map(|row| row.json).collect::<Vec<_>>().iter()));
        }
        Err(mistakes) => {
            let wrong_lines = lines.iter().zip(&alone).filter(|(_, outcome)| outcome.is_err());
            refused(&mistakes, &wrong_lines.map(|((line, _), _)| *line).collect::<Vec<_>>());
            assert_eq!(mistakes.count, wrong, "{mistakes}");
        }
    }
}

/// What was read can be written in each form, and is read as the same again.
fn again(operations: &Operations<Kind>, outcome: &Outcome) {
    let Ok(rows) = outcome else { return };
    let values: Vec<_> = rows.iter().map(value).collect();
    for end in ["\n", "\r\n"] {
        let tagged: Vec<_> = rows.iter().map(|row| &*row.json).collect();
        let flat: Vec<_> = values.iter().map(|value| flat(value).to_string()).collect();
        is_read_as(&reading(operations).lines(tagged.join(end).as_bytes()), &values);
        is_read_as(&reading(operations).lines(flat.join(end).as_bytes()), &values);
    }
    let rows: Vec<_> = values.iter().map(cells_of).collect();
    if rows.is_empty() || !rows.iter().all(|cells| fit_a_table(cells)) {
        return;
    }
    let columns: BTreeSet<_> = rows.iter().flatten().map(|(column, _)| column.as_str()).collect();
    for delimiter in DELIMITERS {
        for end in LINE_ENDS {
            for (style, said) in [(QuoteStyle::Necessary, Some(delimiter)), (QuoteStyle::Always, None)] {
                if said.is_none() && delimiter == b'|' {
                    continue;
                }
                let table = table(&values, &columns, writer(delimiter, end, style));
                is_read_as(&Reading { delimiter: said, ..reading(operations) }.table(&table), &values);
            }
        }
    }
}

fn is_read_as(outcome: &Outcome, values: &[Value]) {
    let rows = outcome.as_ref().unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let sorted = |value: &Value| (value["tag"].clone(), cells_of(value));
    assert!(rows.iter().map(|row| sorted(&value(row))).eq(values.iter().map(sorted)), "{rows:?} is not {values:?}");
}

/// Whether cells can say this: an empty one says nothing, the names of columns are trimmed, and none is there twice.
fn fit_a_table(cells: &[(String, String)]) -> bool {
    let names: BTreeSet<_> = cells.iter().map(|(column, _)| column).collect();
    let is_name = |name: &str| name.trim() == name && !name.ends_with(':');
    names.len() == cells.len()
        && cells.iter().all(|(column, cell)| !cell.is_empty() && column.split_once(':').is_none_or(|_| is_name(column)))
}

fn table(values: &[Value], columns: &BTreeSet<&str>, mut writer: Writer<Vec<u8>>) -> Vec<u8> {
    writer.write_record(["operation"].iter().chain(columns)).expect("names");
    for value in values {
        let cells: Map<_, _> = cells_of(value).into_iter().map(|(column, cell)| (column, cell.into())).collect();
        let cells = columns.iter().map(|column| cells.get(*column).and_then(Value::as_str).unwrap_or_default());
        let tag = value["tag"].as_str().unwrap_or_default();
        writer.write_record([tag].into_iter().chain(cells)).expect("cells");
    }
    bytes(writer)
}

/// What an operation says, as column and cell, sorted.
fn cells_of(value: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let Some(fields) = value["val"].as_object() else { return vec![("email".into(), text(&value["val"]))] };
    let mut cells = Vec::new();
    for (key, value) in fields {
        for assignment in value.as_array().into_iter().flatten() {
            let prefix = if assignment["property"]["tag"] == "id" { "property-id" } else { "property" };
            cells.push((format!("{prefix}:{}", text(&assignment["property"]["val"])), text(&assignment["value"])));
        }
        if !value.is_array() {
            cells.push((key.clone(), text(value)));
        }
    }
    cells.sort_unstable();
    cells
}

/// The flat form of an operation, its names spelled as in the WIT.
fn flat(value: &Value) -> Value {
    let (name, _, fields) = ALL.iter().find(|(_, tag, _)| value["tag"] == *tag).expect("an operation");
    let mut flat = Map::from_iter([("operation".to_owned(), json!(name))]);
    for (name, key, _) in *fields {
        let field = if value["val"].is_string() { Some(&value["val"]) } else { value["val"].get(key) };
        flat.extend(field.map(|field| ((*name).to_owned(), field.clone())));
    }
    flat.into()
}

fn value(row: &Row) -> Value {
    serde_json::from_str(&row.json).expect("JSON")
}

/// An outcome, wherever in the file its rows are.
fn without_numbers(outcome: &Outcome) -> Result<Vec<&str>, (usize, Vec<String>)> {
    match outcome {
        Ok(rows) => Ok(rows.iter().map(|row| &*row.json).collect()),
        Err(mistakes) => Err((mistakes.count, mistakes.listed.iter().map(|(_, mistake)| format!("{mistake:?}")).collect())),
    }
}

fn reading(operations: &Operations<Kind>) -> Reading<'_, Kind> {
    Reading { operations, operation: None, defaults: Vec::new(), ignored: &[], delimiter: None }
}

fn writer(delimiter: u8, end: Terminator, style: QuoteStyle) -> Writer<Vec<u8>> {
    WriterBuilder::new().delimiter(delimiter).terminator(end).quote_style(style).flexible(true).from_writer(Vec::new())
}

fn bytes(writer: Writer<Vec<u8>>) -> Vec<u8> {
    writer.into_inner().expect("memory")
}
