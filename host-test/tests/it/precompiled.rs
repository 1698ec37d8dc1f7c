//! Components that were compiled before: loaded when they fit, and refused when they do not.
#![allow(unsafe_code, reason = "to load machine code is what is tested")]

use std::{fs, path::Path};

use memberspot_host::{Connection, Host, HostBuilder, HostError, Outcome, PrecompiledError};
use serde_json::json;

fn load(builder: HostBuilder, file: &Path) -> Result<Host, HostError> {
    // SAFETY: the tests write the file themselves: what was compiled, or what is refused before it is executed.
    unsafe { builder.precompiled(file) }.build()
}

fn refusal(builder: HostBuilder, file: &Path) -> PrecompiledError {
    match load(builder, file).map(|_| ()) {
        Err(HostError::Precompiled(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_fits_is_loaded_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("component.cwasm");
    assert!(matches!(refusal(Host::builder(), &file), PrecompiledError::Unreadable(_)));

    let code = Host::builder().precompile().unwrap();
    fs::write(&file, &code).unwrap();
    for builder in [Host::builder(), Host::builder().pool(2)] {
        let host = load(builder, &file).unwrap();
        let outcome = host.call(&host.tenant("t", Connection::default()), "list-offers", &json!({})).await.unwrap();
        assert!(matches!(outcome, Outcome::Failure(_)), "it runs, and misses its key");
    }

    // Other settings, another component.
    assert!(matches!(refusal(Host::builder().fuel(), &file), PrecompiledError::OtherEngine(_)));
    let other = || Host::builder().component(wat::parse_str("(component)").unwrap());
    assert!(matches!(refusal(other(), &file), PrecompiledError::OtherComponent));
    let names = [Host::builder(), Host::builder().fuel(), other()].map(|builder| builder.precompiled_name().unwrap());
    assert!(names[0] != names[1] && names[0] != names[2] && names[1] != names[2], "{names:?}");
    assert_eq!(names[0], Host::builder().precompiled_name().unwrap());

    // Damage, wherever it is.
    for length in [0, 15, 16, 47, 48, 79, 80, 81, code.len() / 2, code.len() - 1] {
        fs::write(&file, &code[..length]).unwrap();
        assert!(matches!(refusal(Host::builder(), &file), PrecompiledError::Damaged), "{length} bytes");
    }
    for at in [0, 50, 80, 200, code.len() / 2, code.len() - 1] {
        let mut code = code.clone();
        code[at] ^= 1;
        fs::write(&file, code).unwrap();
        assert!(matches!(refusal(Host::builder(), &file), PrecompiledError::Damaged), "byte {at}");
    }
}

#[cfg(unix)]
#[test]
fn a_file_that_others_can_write_is_nobodys_word() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("component.cwasm");
    fs::write(&file, "").unwrap();
    for mode in [0o620, 0o602, 0o666] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        assert!(matches!(refusal(Host::builder(), &file), PrecompiledError::Exposed { mode: found } if found == mode));
    }
}
