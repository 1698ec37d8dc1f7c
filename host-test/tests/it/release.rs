//! `memberspot release`: what is in the folder, read by other hands than those that wrote it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use memberspot_host::catalog::WIT;
use memberspot_host::{COMPONENT, WEBHOOK_RECEIVER};
use memberspot_release::{CHECKSUMS, Error, Files, Interface};
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType, OciLayout};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use wit_component::DecodedWasm;

use crate::cli::{Ran, memberspot, run};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A folder that has a release in it, `release`.
fn release(arguments: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let ran = attempt(folder.path(), arguments);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    folder
}

fn attempt(folder: &Path, arguments: &[&str]) -> Ran {
    run(memberspot(&["release", "--out", "release"]).args(arguments).current_dir(folder).env_remove("SOURCE_DATE_EPOCH"))
}

/// Everything in a folder, by its path within.
fn files(folder: &Path) -> Files {
    fn walk(folder: &Path, prefix: &str, files: &mut Files) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                walk(&entry.path(), &format!("{name}/"), files);
            } else {
                files.insert(name, fs::read(entry.path()).unwrap());
            }
        }
    }
    let mut all = Files::new();
    walk(folder, "", &mut all);
    all
}

fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// The names of the components in a release, without their endings.
fn components(files: &Files) -> BTreeSet<&str> {
    files.keys().filter_map(|name| name.strip_suffix(".cdx.json")).collect()
}

#[test]
fn a_release_has_everything_and_says_its_checksums() {
    let folder = release(&[]);
    let files = files(&folder.path().join("release"));
    assert!(files["memberspot.wasm"] == COMPONENT);
    let interface = Interface::parse(WIT).unwrap().file_name();
    for name in [format!("{interface}.wit"), format!("{interface}.wasm"), "LICENSE-MIT".into(), "LICENSE-APACHE".into()] {
        assert!(!files[&name].is_empty(), "{name}");
    }
    assert!(files["memberspot-receiver.wasm"] == WEBHOOK_RECEIVER);
    // Beside it, as many components as `memberspot component` knows flavours.
    let known = run(&mut memberspot(&["component", "--help"])).stdout;
    let mut components = components(&files);
    assert!(components.remove("memberspot-receiver"));
    for name in &components {
        assert!(files.contains_key(&format!("{name}.wasm")), "{name}");
        assert!(known.contains(&format!("- {}", name.strip_prefix("memberspot-").unwrap_or("connector"))), "{name}: {known}");
    }
    assert_eq!(components.len(), known.lines().filter(|line| line.trim_start().starts_with("- ")).count(), "{known}");

    let checksums = str::from_utf8(&files[CHECKSUMS]).unwrap();
    let checksums: BTreeMap<_, _> =
        checksums.lines().map(|line| line.split_once("  ").unwrap()).map(|(sum, name)| (name, sum)).collect();
    let computed: BTreeMap<_, _> = files.iter().map(|(name, content)| (name.as_str(), sha256(content))).collect();
    assert_eq!(checksums.len(), files.len() - 1, "all but the list itself");
    for (name, sum) in checksums {
        assert_eq!(computed[name], sum, "{name}");
    }
}

#[test]
fn two_releases_of_one_source_are_the_same() {
    let (one, other) = (release(&[]), release(&[]));
    assert!(files(one.path()) == files(other.path()));
    // A date is part of it when it is given, and then the same again.
    let [dated, again] = [(); 2].map(|()| release(&["--date", "1700000000"]));
    assert!(files(dated.path()) == files(again.path()));
    let dated = files(&dated.path().join("release"));
    assert_eq!(json(&dated["memberspot.cdx.json"])["metadata"]["timestamp"], "2023-11-14T22:13:20Z");
    assert_eq!(json(&files(&one.path().join("release"))["memberspot.cdx.json"])["metadata"].get("timestamp"), None);
}

#[test]
fn the_wit_package_is_the_wit() {
    let folder = release(&[]);
    let files = files(&folder.path().join("release"));
    let interface = Interface::parse(WIT).unwrap();
    let name = interface.file_name();
    let DecodedWasm::WitPackage(resolve, package) = wit_component::decode(&files[&format!("{name}.wasm")]).unwrap() else {
        panic!("it is a component");
    };
    assert_eq!(resolve.packages[package].name.to_string(), format!("memberspot:connector@{}", interface.version()));
    let mut printer = wit_component::WitPrinter::new(wit_component::OutputToString::default());
    printer.print(&resolve, package, &[]).unwrap();
    // Comments included; both forms are compared with the source by what they mean.
    for text in [printer.output.to_string().as_str(), str::from_utf8(&files[&format!("{name}.wit")]).unwrap()] {
        let read = Interface::parse(&[("read.wit", text)]).unwrap();
        assert_eq!(interface.compare(&read).unwrap(), memberspot_release::Change::Nothing);
    }
}

/// What a descriptor is about; the digest and the size are those that it says.
fn blob<'a>(files: &'a Files, descriptor: &Descriptor) -> &'a [u8] {
    let hex = descriptor.as_digest_sha256().unwrap();
    let bytes = &files[&format!("oci/blobs/sha256/{hex}")];
    assert_eq!(sha256(bytes), hex);
    assert_eq!(bytes.len() as u64, descriptor.size());
    bytes
}

#[test]
fn the_oci_layout_holds_what_the_folder_holds() {
    let folder = release(&["--date", "1700000000"]);
    let files = files(&folder.path().join("release"));
    let layout = OciLayout::from_reader(&*files["oci/oci-layout"]).unwrap();
    assert_eq!(layout.image_layout_version(), "1.0.0");
    let index = ImageIndex::from_reader(&*files["oci/index.json"]).unwrap();
    assert_eq!((index.schema_version(), index.media_type()), (2, &Some(MediaType::ImageIndex)));

    let interface = Interface::parse(WIT).unwrap();
    let mut expected: BTreeMap<_, _> =
        components(&files).iter().map(|name| (format!("{name}-{VERSION}"), format!("{name}.wasm"))).collect();
    expected.insert(interface.file_name(), format!("{}.wasm", interface.file_name()));
    let mut blobs = BTreeSet::new();
    for descriptor in index.manifests() {
        let tag = &descriptor.annotations().as_ref().unwrap()["org.opencontainers.image.ref.name"];
        let file = expected.remove(tag).unwrap_or_else(|| panic!("nothing is called {tag}, or two things"));
        assert_eq!(descriptor.media_type(), &MediaType::ImageManifest);
        let manifest = ImageManifest::from_reader(blob(&files, descriptor)).unwrap();
        assert_eq!((manifest.schema_version(), manifest.media_type()), (2, &Some(MediaType::ImageManifest)));
        assert_eq!(manifest.config().media_type(), &MediaType::Other("application/vnd.wasm.config.v0+json".into()));
        let [layer] = manifest.layers().as_slice() else { panic!("{tag} has other layers") };
        assert_eq!(layer.media_type(), &MediaType::Other("application/wasm".into()));
        assert!(blob(&files, layer) == files[&file], "{tag} is not {file}");
        assert_eq!(layer.annotations().as_ref().unwrap()["org.opencontainers.image.title"], file);

        let config = json(blob(&files, manifest.config()));
        assert_eq!((&config["architecture"], &config["os"]), (&"wasm".into(), &"wasip2".into()));
        assert_eq!(config["created"], "2023-11-14T22:13:20Z");
        assert_eq!(config["layerDigests"], serde_json::json!([layer.digest().to_string()]));
        assert!(config["component"]["exports"].as_array().is_some_and(|exports| !exports.is_empty()), "{config}");
        assert!(config["component"]["imports"].is_array(), "{config}");
        blobs.extend([descriptor, manifest.config(), layer].map(|it| format!("oci/blobs/sha256/{}", it.digest().digest())));
    }
    assert!(expected.is_empty(), "the layout lacks {expected:?}");
    let there: BTreeSet<_> = files.keys().filter(|name| name.starts_with("oci/blobs/")).cloned().collect();
    assert_eq!(there, blobs, "nothing lies there that is not named");
}

#[test]
fn the_bill_of_materials_is_that_of_the_component() {
    let folder = release(&[]);
    let files = files(&folder.path().join("release"));
    let lock = include_str!("../../../Cargo.lock");
    for name in components(&files) {
        let bill = json(&files[&format!("{name}.cdx.json")]);
        assert_eq!((&bill["bomFormat"], &bill["specVersion"]), (&"CycloneDX".into(), &"1.6".into()));
        let subject = &bill["metadata"]["component"];
        assert_eq!(subject["hashes"][0]["content"], sha256(&files[&format!("{name}.wasm")]));

        let packages = bill["components"].as_array().unwrap();
        let named = |name: &str| packages.iter().find(|it| it["name"] == name);
        // In the component, by ways of their own: itself, its core, an allocator, what it reads or signs with, and the standard
        // library.
        let own: &[_] = match name {
            "memberspot-receiver" => &["memberspot-webhook-receiver", "hmac", "wasi"],
            _ => &["memberspot-connector", "serde_json"],
        };
        for inside in ["memberspot-core", "dlmalloc", "rust-std"].iter().chain(own) {
            assert!(named(inside).is_some(), "{name} lacks {inside}");
        }
        // The host's; a macro, which runs while compiling; and what reads the WIT then.
        for outside in ["wasmtime", "tokio", "memberspot-host", "serde_derive", "syn", "wit-parser"] {
            assert!(named(outside).is_none(), "{name} has {outside}");
        }
        let mut references = BTreeSet::from([subject["bom-ref"].as_str().unwrap()]);
        for package in packages {
            assert!(references.insert(package["bom-ref"].as_str().unwrap()), "{package} is there twice");
            assert!(package["licenses"][0]["expression"].is_string(), "{package}");
            if package.get("purl").is_some() {
                let checksum = package["hashes"][0]["content"].as_str().unwrap();
                assert!(lock.contains(&format!("checksum = \"{checksum}\"")), "{package}");
            }
        }
        let dependencies = bill["dependencies"].as_array().unwrap();
        assert_eq!(dependencies.len(), references.len());
        // What is listed is needed by something, from the top down.
        let needs =
            |reference: &str| dependencies.iter().find(|it| it["ref"] == reference).unwrap()["dependsOn"].as_array().unwrap();
        let mut reached = BTreeSet::new();
        let mut open = vec![subject["bom-ref"].as_str().unwrap()];
        while let Some(reference) = open.pop() {
            if reached.insert(reference) {
                open.extend(needs(reference).iter().map(|it| it.as_str().unwrap()));
            }
        }
        assert_eq!(reached, references, "{name}");
    }
}

#[test]
fn a_folder_is_filled_as_a_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("release");
    // Something is there.
    fs::create_dir(&out).unwrap();
    fs::write(out.join("mine"), "mine").unwrap();
    assert_eq!(attempt(folder.path(), &[]).code, 4);
    assert_eq!(files(folder.path()).len(), 1, "nothing was added");
    // Something of that name is a file.
    fs::remove_dir_all(&out).unwrap();
    fs::write(&out, "mine").unwrap();
    assert_eq!(attempt(folder.path(), &[]).code, 4);
    fs::remove_file(&out).unwrap();

    // In the middle of it, a file cannot be written: here, because its folder is a file.
    let impossible = Files::from([("a".into(), vec![1]), ("a/b".into(), vec![2])]);
    assert!(matches!(memberspot_release::write(&out, &impossible), Err(Error::Write(..))));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");

    // An earlier run was killed: what it left is not a release, and not silently thrown away.
    let unfinished = folder.path().join("release.unfinished");
    fs::create_dir(&unfinished).unwrap();
    fs::write(unfinished.join("memberspot.wasm"), "the first bytes").unwrap();
    assert!(matches!(memberspot_release::write(&out, &Files::new()), Err(Error::Unfinished(_))));
    assert!(unfinished.join("memberspot.wasm").exists() && !out.exists());
    fs::remove_dir_all(&unfinished).unwrap();

    // An empty folder is as good as none.
    fs::create_dir(&out).unwrap();
    let content = Files::from([("a/b".into(), vec![2])]);
    memberspot_release::write(&out, &content).unwrap();
    assert_eq!(files(&out), content);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn nothing_is_released_under_a_version_that_does_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let text = Interface::parse(WIT).unwrap().to_text().unwrap();
    let previous = folder.path().join("previous.wit");
    fs::write(&previous, text.replacen("record failure {", "record failure {\n    trace: option<string>,", 1)).unwrap();
    assert_eq!(attempt(folder.path(), &["--previous", "previous.wit"]).code, 4);
    assert!(!folder.path().join("release").exists());
    fs::write(&previous, &text).unwrap();
    assert_eq!(attempt(folder.path(), &["--previous", "previous.wit"]).code, 0);
    assert!(folder.path().join("release").join(CHECKSUMS).exists());
}
