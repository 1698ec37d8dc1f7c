//! Files of operations, from the file system or standard input.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use clap::ValueEnum;
use memberspot_bulk_file::mistakes::Mistakes;
use memberspot_bulk_file::reading::{Reading, Row};

use super::operations::WitType;

/// The largest file, in bytes. It is held in memory.
pub const LARGEST_FILE: u64 = 256 << 20;

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

    /// The operations of a file of this form.
    pub fn read(self, reading: &mut Reading<WitType>, bytes: &[u8]) -> Result<Vec<Row>, Mistakes> {
        match self {
            Self::Csv => reading.table(bytes),
            Self::Jsonl => reading.lines(bytes),
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

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use csv::WriterBuilder;
    use memberspot_bulk_file::mistakes::MOST_LISTED;
    use memberspot_bulk_file::reading::{LONGEST_ROW, MOST_ROWS};
    use memberspot_host::Host;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::bulk::operations::{self, Operations};

    fn operations() -> &'static Operations {
        static OPERATIONS: OnceLock<Operations> = OnceLock::new();
        OPERATIONS.get_or_init(|| operations::of(&Host::new().unwrap()).unwrap())
    }

    fn reading() -> Reading<'static, WitType> {
        Reading { operations: operations(), operation: None, defaults: Vec::new(), ignored: &[], delimiter: None }
    }

    /// The numbers and the operations of the rows.
    fn good(reading: &mut Reading<WitType>, bytes: impl AsRef<[u8]>, format: Format) -> Vec<(u32, Value)> {
        let rows = format.read(reading, bytes.as_ref()).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        rows.iter().map(|row| (row.number, serde_json::from_str(&row.json).unwrap())).collect()
    }

    /// The numbers and the places of the mistakes.
    fn bad(reading: &mut Reading<WitType>, bytes: impl AsRef<[u8]>, format: Format) -> Vec<(u32, Option<String>)> {
        let mistakes = format.read(reading, bytes.as_ref()).unwrap_err();
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
    fn the_header_alone_shows_the_delimiter() {
        for (header, row) in [
            ("operation;email;property:x", "set-properties;a;1,,,,"),
            ("operation;email;\"property:a,b,c\nd,e\"", "set-properties;a;1,,,,"),
            ("\"property:a\n\"\",,,\";operation;email", "1,,,,;set-properties;a"),
        ] {
            for line_end in ["\n", "\r\n", "\r"] {
                let rows = good(&mut reading(), [header, row].join(line_end), Format::Csv);
                assert_eq!(rows[0].1["val"]["values"][0]["value"], "1,,,,", "{header}");
            }
        }
    }

    #[test]
    fn a_mark_within_a_cell_is_a_sign_like_others() {
        let header = "operation,email,offer-id,first-name\n";
        let table = format!("{header}grant-access,a,o,6\" x\ngrant-access,b,o,\"y\nz\"\n");
        let rows = good(&mut reading(), table, Format::Csv);
        assert_eq!((&rows[0].1["val"]["firstName"], &rows[1].1["val"]["firstName"]), (&json!("6\" x"), &json!("y\nz")));
        // As many marks as in a table that is whole, but the last row is within the one before.
        let table = format!("{header}grant-access,a,o,6\" x\ngrant-access,b,o,\"y\ngrant-access,c,o,z\n");
        assert_eq!(bad(&mut reading(), table, Format::Csv), [(3, None)]);
        // A file that broke off.
        assert_eq!(bad(&mut reading(), format!("{header}grant-access,a,o,\"Ada"), Format::Csv), [(2, None)]);
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
    fn mistakes_are_brief_and_repeat_no_address() {
        for (text, format) in [
            ("grant-access,ada@example.com,o", Format::Csv),
            ("operation,email\nada@example.com,grant-access", Format::Csv),
            ("operation,email,property:ada@example.com\ndelete-user,a,x", Format::Csv),
            (&format!("operation,email,property:{}\ndelete-user,a,x", "x".repeat(10_000)), Format::Csv),
            (r#"{"operation": "ada@example.com"}"#, Format::Jsonl),
            (r#"{"operation": "grant-access", "ada@example.com": "o"}"#, Format::Jsonl),
            (r#"{"operation": "delete-user", "email": ["ada@example.com"]}"#, Format::Jsonl),
            (r#"{"tag": "deleteUser", "ada@example.com": "o"}"#, Format::Jsonl),
        ] {
            let mistakes = format.read(&mut reading(), text.as_bytes()).unwrap_err().to_string();
            assert!(!mistakes.contains("ada"), "{mistakes}");
            assert!(mistakes.len() < 300, "{mistakes}");
        }
    }

    #[test]
    fn all_mistakes_are_counted_and_the_first_are_listed() {
        let table = format!("operation,email\n{}", "no-such,a\n".repeat(25));
        let mistakes = Format::Csv.read(&mut reading(), table.as_bytes()).unwrap_err();
        assert_eq!((mistakes.count, mistakes.listed.len()), (25, MOST_LISTED));
        assert_eq!((mistakes.listed[0].0, mistakes.listed[19].0), (2, 21));
        assert!(mistakes.to_string().ends_with("\n  and 5 more"), "{mistakes}");
    }

    #[test]
    fn bounds_are_kept() {
        let long = "x".repeat(LONGEST_ROW + 1);
        let table = format!("operation,email\ndelete-user,a\ndelete-user,\"{long}");
        assert_eq!(bad(&mut reading(), table, Format::Csv), [(3, None)]);
        assert_eq!(bad(&mut reading(), format!("operation,email,property:{long}\n"), Format::Csv), [(1, None)]);
        let line = format!(r#"{{"operation": "delete-user", "email": "{long}"}}"#);
        assert_eq!(bad(&mut reading(), line, Format::Jsonl), [(1, None)]);

        let mistakes = Format::Jsonl.read(&mut reading(), "1\n".repeat(MOST_ROWS + 2).as_bytes()).unwrap_err();
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
                match format.read(&mut reading(), &bytes) {
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
