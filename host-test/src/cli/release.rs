//! `memberspot release`: everything that is published, in one folder.

use std::fs;
use std::path::PathBuf;

use clap::{Args, ValueEnum as _, ValueHint};
use memberspot_host::catalog::WIT;
use memberspot_host::{WEBHOOK_RECEIVER, WEBHOOK_RECEIVER_INVENTORY};
use memberspot_release::{Component, Error, Interface, Inventory};
use serde_json::json;
use time::OffsetDateTime;

use super::SUCCESS;
use super::component::Flavour;
use super::output::{self, Failure};

/// What goes into the folder as it is.
const TEXTS: [(&str, &str); 2] =
    [("LICENSE-APACHE", include_str!("../../../LICENSE-APACHE")), ("LICENSE-MIT", include_str!("../../../LICENSE-MIT"))];

/// Assemble a release: the component in each flavour, the webhook receiver, the interface, bills of materials, an OCI layout, checksums.
#[derive(Debug, Args)]
pub struct Release {
    /// The folder to make. It must not exist yet, or be empty.
    #[arg(long, short, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    out: PathBuf,
    /// The interface of the release before, as its .wit file: nothing is written if the version of the interface does not say
    /// what has changed since.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    previous: Option<PathBuf>,
    /// The moment that the release bears, in seconds since 1970. Without it, nothing in it has a date.
    #[arg(long, value_name = "SECONDS", env = "SOURCE_DATE_EPOCH", value_parser = moment)]
    date: Option<OffsetDateTime>,
}

impl Release {
    pub fn execute(&self, json: bool) -> Result<u8, Failure> {
        let fail = |error: Error| Failure::host(&error);
        let interface = Interface::parse(WIT).map_err(fail)?;
        if let Some(file) = &self.previous {
            let text = fs::read_to_string(file).map_err(|error| Failure::input(file, &error))?;
            let previous = Interface::parse(&[(&file.to_string_lossy(), &text)]).map_err(fail)?;
            previous.check(&interface).map_err(fail)?;
        }
        let receiver = Component {
            name: "memberspot-receiver".to_owned(),
            description: "Takes Memberspot's webhooks over wasi:http, and passes them on signed".to_owned(),
            bytes: WEBHOOK_RECEIVER.to_vec(),
            parts: vec![Inventory::parse(WEBHOOK_RECEIVER_INVENTORY).map_err(fail)?],
        };
        let flavours = Flavour::value_variants().iter().map(|flavour| {
            let (name, description) = (flavour.file_name(), flavour.description());
            let parts = flavour.inventories().iter().map(|list| Inventory::parse(list));
            let parts = parts.collect::<Result<_, _>>().map_err(fail)?;
            Ok(Component { name, description, bytes: flavour.bytes()?.into_owned(), parts })
        });
        let release = memberspot_release::Release {
            version: env!("CARGO_PKG_VERSION"),
            license: env!("CARGO_PKG_LICENSE"),
            components: flavours.chain([Ok(receiver)]).collect::<Result<_, Failure>>()?,
            interface: &interface,
            texts: &TEXTS,
            created: self.date,
        };
        let files = release.files().map_err(fail)?;
        memberspot_release::write(&self.out, &files).map_err(fail)?;
        if json {
            let names = files.keys().collect::<Vec<_>>();
            output::json(&json!({"folder": self.out.to_string_lossy(), "files": names}))?;
        } else {
            output::message(|err| writeln!(err, "wrote {} files into {}", files.len(), self.out.display()));
        }
        Ok(SUCCESS)
    }
}

/// A moment as a Unix time in seconds.
fn moment(text: &str) -> Result<OffsetDateTime, String> {
    let seconds = text.parse().map_err(|_| "this is no number of seconds")?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|error| error.to_string())
}
