//! What makes the command line fast, and what measures speed. That it is fast, no test says: machines differ.

use std::{fs, path::PathBuf};

use crate::cli::{memberspot, run};

#[test]
fn the_bench_makes_the_calls_that_it_reports() {
    let folder = tempfile::tempdir().unwrap();
    let svg = folder.path().join("speed.svg");
    let mut bench = memberspot(&["bench", "--json", "--rounds", "1", "--calls", "2", "--concurrency", "3", "--svg"]);
    let ran = run(bench.arg(&svg));
    assert_eq!(ran.code, 0, "{} {}", ran.stdout, ran.stderr);
    let report = ran.json();
    // Two rounds of two calls for each of three workers, in six ways with two functions; and two that are looked at closely.
    assert_eq!(report["made"], 2 * 2 * 3 * 6 * 2 + 2);
    assert_eq!(report["server"]["requests"], report["made"]);
    assert_eq!(report["serverEnded"], true);
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 12);
    for row in rows {
        assert_eq!(row["failures"], 0, "{row}");
        assert!(row["perSecond"].as_f64().unwrap() > 0.0, "{row}");
    }
    // A connection for each call there, and no more than workers and looks elsewhere.
    let connections = report["server"]["connections"].as_u64().unwrap();
    assert!((24..24 + 6 * 12 + 2).contains(&connections), "{connections}");
    assert_eq!(report["callsToHost"]["grant"]["outgoing-handler.handle"], 1);
    assert!(fs::read_to_string(svg).unwrap().starts_with("<svg "));
}

#[cfg(target_os = "linux")]
#[test]
fn compiled_code_is_kept_where_nobody_else_can_write() {
    use std::os::unix::fs::PermissionsExt as _;

    let caches = tempfile::tempdir().unwrap();
    let folder = caches.path().join("memberspot");
    // The component is needed to know that it has no such function.
    let look = || {
        let mut command = memberspot(&["run", "no-such-function"]);
        let ran = run(command.env("MEMBERSPOT_API_KEY", "key").env("XDG_CACHE_HOME", caches.path()));
        assert_eq!(ran.code, 2, "{}", ran.stderr);
    };
    let mode = |path: &PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let set_mode = |mode| fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
    let files = || fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();

    look();
    let [file] = files().try_into().unwrap();
    assert_eq!((mode(&folder), mode(&file)), (0o700, 0o600));
    let code = fs::read(&file).unwrap();
    let written = || fs::metadata(&file).unwrap().modified().unwrap();
    let before = written();
    look();
    assert_eq!(written(), before, "it was compiled again");

    fs::write(&file, &code[..code.len() / 2]).unwrap();
    look();
    assert!(fs::read(&file).unwrap() == code, "a damaged file is replaced");

    fs::remove_file(&file).unwrap();
    for exposed in [0o755, 0o770, 0o707] {
        set_mode(exposed);
        look();
        assert_eq!(files(), [] as [PathBuf; 0], "in a folder that is not the user's alone");
    }
    set_mode(0o700);
    // Somebody else could put another folder in its place.
    fs::set_permissions(caches.path(), fs::Permissions::from_mode(0o777)).unwrap();
    look();
    assert_eq!(files(), [] as [PathBuf; 0]);
    fs::set_permissions(caches.path(), fs::Permissions::from_mode(0o700)).unwrap();
    fs::remove_dir(&folder).unwrap();
    std::os::unix::fs::symlink(std::env::temp_dir(), &folder).unwrap();
    look();
    fs::remove_file(&folder).unwrap();
    fs::write(&folder, "").unwrap();
    look();
}

#[test]
fn the_code_can_be_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("component.cwasm");
    let ran = run(memberspot(&["component", "--json", "--precompile", "--out"]).arg(&file));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let metadata = fs::metadata(&file).unwrap();
    assert_eq!(ran.json()["bytes"], metadata.len());
    #[cfg(unix)]
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777, 0o600);
    assert_eq!(run(&mut memberspot(&["component", "--precompile"])).code, 2);
}
