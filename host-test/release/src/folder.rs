//! Writes a folder so that it is there with all of its content, or not at all.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::{Error, Files};

/// Writes the files into a folder, which must not exist, or be empty.
///
/// They are written into a folder beside it, which takes its name when everything is on the disk. What an interrupted run
/// leaves behind is called `.unfinished`.
///
/// # Errors
///
/// When the folder is not empty, when another run left its own behind, or when something cannot be written.
pub fn write(folder: &Path, files: &Files) -> Result<(), Error> {
    let folder = std::path::absolute(folder).map_err(|error| Error::Write(folder.to_owned(), error))?;
    let unfinished = beside(&folder);
    let taken = match fs::read_dir(&folder) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    };
    if taken {
        return Err(Error::NotEmpty(folder));
    }
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent).map_err(|error| Error::Write(parent.to_owned(), error))?;
    }
    fs::create_dir(&unfinished).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Error::Unfinished(unfinished.clone()),
        _ => Error::Write(unfinished.clone(), error),
    })?;
    let written = fill(&unfinished, files).and_then(|()| put(&unfinished, &folder));
    if written.is_err() {
        // The first error is the one to tell of.
        let _ = fs::remove_dir_all(&unfinished);
    }
    written
}

/// The folder that is being written.
fn beside(folder: &Path) -> PathBuf {
    let mut name = folder.file_name().map_or_else(OsString::new, OsString::from);
    name.push(".unfinished");
    folder.with_file_name(name)
}

fn fill(folder: &Path, files: &Files) -> Result<(), Error> {
    for (name, content) in files {
        let path = folder.join(name);
        create(&path, content).map_err(|error| Error::Write(path, error))?;
    }
    Ok(())
}

fn create(path: &Path, content: &[u8]) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    let mut file = File::create_new(path)?;
    file.write_all(content)?;
    // The name must not be on the disk before the content.
    file.sync_all()
}

fn put(unfinished: &Path, folder: &Path) -> Result<(), Error> {
    // Not every system replaces an empty folder by renaming.
    match fs::remove_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::Write(folder.to_owned(), error)),
        _ => {}
    }
    fs::rename(unfinished, folder).map_err(|error| Error::Write(folder.to_owned(), error))
}
