//! Machine code of the component from one run to the next: to compile it takes most of a short command's time.
//!
//! It is kept in a folder of the user's own, and only where the system says that it is: what is loaded is executed. A folder
//! that is needed before anybody has made a decision about it is better than an option that nobody finds; who wants none
//! makes `memberspot` in the user's cache folder a file, or unreadable. Whatever goes wrong, the component is compiled.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use memberspot_host::{Host, HostBuilder, HostError};

/// Files of other versions that are left in the folder.
const MOST_FILES: usize = 4;

/// Builds a host with the code that an earlier run has left, or compiles it and leaves it for later ones.
pub fn build(builder: HostBuilder) -> Result<Host, HostError> {
    let Some(folder) = folder() else { return builder.build() };
    let file = folder.join(format!("{}.cwasm", builder.precompiled_name()?));
    if let Ok(host) = load(builder.clone(), &file) {
        return Ok(host);
    }
    // Compiled once: what was written is loaded like what was found.
    match builder.precompile() {
        Ok(code) if save(&folder, &file, &code).is_ok() => load(builder.clone(), &file).or_else(|_| builder.build()),
        _ => builder.build(),
    }
}

#[allow(unsafe_code, reason = "to load machine code is what this file is for")]
fn load(builder: HostBuilder, file: &Path) -> Result<Host, HostError> {
    // SAFETY: `folder` has made sure that nobody but this user and the administrator could write to the folder, or put another
    // one in its place, and the library that nobody else can write to the file. Either could replace this program as well.
    unsafe { builder.precompiled(file) }.build()
}

/// The folder, if it is this user's alone, and so is the way to it. Only Unix says so in a way that is checked here.
#[cfg(unix)]
fn folder() -> Option<PathBuf> {
    use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};

    const STICKY: u32 = 0o1000;

    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    let variable = |name| std::env::var_os(name).map(PathBuf::from).and_then(absolute);
    // Who this process is, as far as files are concerned. Linux alone has this file; elsewhere nothing is kept.
    let me = fs::metadata("/proc/self").ok()?.uid();
    // Whether nobody but this user and the administrator can put another folder in the place of one that is in this one.
    let is_safe = |folder: &Path| {
        fs::metadata(folder).is_ok_and(|found| {
            let closed = found.mode() & 0o022 == 0 || found.mode() & STICKY != 0;
            found.is_dir() && closed && (found.uid() == me || found.uid() == 0)
        })
    };
    let make = |folder: &Path| drop(fs::DirBuilder::new().mode(0o700).create(folder));

    let home = || {
        let home = fs::canonicalize(variable("HOME")?).ok()?;
        // What this process makes in somebody else's home would be in that one's way.
        let caches = (fs::metadata(&home).ok()?.uid() == me).then(|| home.join(".cache"))?;
        make(&caches);
        Some(caches)
    };
    let caches = fs::canonicalize(variable("XDG_CACHE_HOME").or_else(home)?).ok()?;
    if !caches.ancestors().all(is_safe) || fs::metadata(&caches).ok()?.uid() != me {
        return None;
    }
    let folder = caches.join("memberspot");
    // One that exists is fine, or it is not: that is what is looked at next.
    make(&folder);
    // Of the folder itself, not of what a link leads to.
    let found = fs::symlink_metadata(&folder).ok()?;
    (found.is_dir() && found.uid() == me && found.mode() & 0o777 == 0o700).then_some(folder)
}

#[cfg(not(unix))]
fn folder() -> Option<PathBuf> {
    None
}

/// Writes the file beside its place, and puts it there at once: another run never sees a part of it.
fn save(folder: &Path, file: &Path, code: &[u8]) -> std::io::Result<()> {
    tidy(folder);
    let part = folder.join(format!("{}.part", std::process::id()));
    let written = write(&part, code).and_then(|()| restrict(&part)).and_then(|()| fs::rename(&part, file));
    written.inspect_err(|_| drop(fs::remove_file(&part)))
}

/// Writes a file that was not there.
fn write(file: &Path, code: &[u8]) -> std::io::Result<()> {
    // What a process of this number left behind.
    let _ = fs::remove_file(file);
    fs::File::create_new(file)?.write_all(code)
}

#[cfg(unix)]
pub fn restrict(file: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(file, fs::Permissions::from_mode(0o600))
}

#[cfg(not(unix))]
pub fn restrict(_: &Path) -> std::io::Result<()> {
    Ok(())
}

/// Removes the oldest files.
fn tidy(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries
        .filter_map(|entry| {
            let metadata = entry.metadata().ok().filter(fs::Metadata::is_file)?;
            Some((metadata.modified().ok()?, entry.path()))
        })
        .collect();
    files.sort();
    let surplus = files.len().saturating_sub(MOST_FILES - 1);
    for (_, file) in files.into_iter().take(surplus) {
        let _ = fs::remove_file(file);
    }
}
