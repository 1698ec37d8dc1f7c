//! What engines rely on, read from the component that was built and from the WIT that it was built from.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use memberspot_host::catalog::{Catalog, Facts, WIT};
use memberspot_host::{COMPONENT, Host};
use wasmparser::{Parser, Payload};
use wasmtime::component::types::Type;
use wit_parser::{Docs, Resolve, SourceMap, TypeDefKind};

/// Everything that the component may ask of an engine.
const IMPORTS: [&str; 7] = [
    "wasi:cli/environment",
    "wasi:clocks/monotonic-clock",
    "wasi:http/outgoing-handler",
    "wasi:http/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
];

#[test]
fn imports_are_what_is_documented() {
    let mut imports = BTreeSet::new();
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(COMPONENT) {
        match payload.unwrap() {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    let name = import.unwrap().name.name;
                    let (name, version) = name.split_once('@').unwrap();
                    assert!(version.starts_with("0.2."), "{name}@{version}");
                    imports.insert(name);
                }
            }
            _ => {}
        }
    }
    assert_eq!(imports, BTreeSet::from(IMPORTS));
}

#[test]
fn the_component_is_small() {
    assert!(COMPONENT.len() <= 512 << 10, "{} bytes", COMPONENT.len());
}

/// The same source gives the same bytes on every machine: nothing says where it was built.
#[test]
fn no_folder_of_the_building_machine_is_in_the_component() {
    let texts: Vec<_> =
        COMPONENT.split(|byte| !matches!(byte, b' '..=b'~')).map(|text| str::from_utf8(text).unwrap()).collect();
    let sources: Vec<_> = texts.iter().filter(|text| text.ends_with(".rs")).collect();
    // Panics name their places: one of the component, and one of a package, so that the others are found.
    assert!(sources.iter().any(|source| **source == "core/src/client.rs"), "{sources:?}");
    assert!(sources.iter().any(|source| source.starts_with("serde_json-1.")), "{sources:?}");
    for source in sources {
        // The standard library has a name that is the same for everybody, by the commit that it was built from.
        let standard = source.starts_with("/rustc/") && source.contains("/library/");
        assert!(standard || !source.starts_with('/') && !source.contains([':', '\\']), "{source}");
    }
    for folder in [env!("CARGO_MANIFEST_DIR"), env!("CARGO_TARGET_TMPDIR"), env!("OUT_DIR"), "registry/src"] {
        assert!(!texts.iter().any(|text| text.contains(folder)), "{folder}");
    }
}

/// Each instance begins with this much memory: one page of stack and four of heap (see `.cargo/config.toml`), and the data. The
/// linker's own stack of 16 pages would show here, and so would linker arguments that went missing.
#[test]
fn memory_starts_small() {
    let mut memories = Vec::new();
    for payload in Parser::new(0).parse_all(COMPONENT) {
        if let Payload::MemorySection(section) = payload.unwrap() {
            memories.extend(section.into_iter().map(|memory| memory.unwrap().initial));
        }
    }
    assert_eq!(memories.len(), 1, "one memory");
    assert!((6..=7).contains(&memories[0]), "{} pages", memories[0]);
}

/// The build script's cargo runs inside of another cargo, whose environment must not change what comes out. Where the source
/// and the target folder lie must not either: both builds leave out the paths of the same packages, each those of its own
/// target folder too.
#[test]
fn the_embedded_component_is_the_plain_build_without_its_paths() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plain");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(workspace)
        .args(["build", "--profile", "component", "--target", "wasm32-unknown-unknown", "-p", "memberspot-connector"])
        .args(["--config", env!("MEMBERSPOT_PATHS")])
        .env("CARGO_TARGET_DIR", &target)
        // A plain build has no flags but those of `.cargo/config.toml`; that of a coverage tool would be there too.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let plain = std::fs::read(target.join("wasm32-unknown-unknown/component/memberspot_connector.wasm")).unwrap();
    assert!(plain == COMPONENT, "{} bytes embedded, {} bytes plain", COMPONENT.len(), plain.len());
}

#[test]
fn every_function_gives_a_result_with_the_error() {
    let host = Host::new().unwrap();
    assert!(!host.functions().is_empty());
    for function in host.functions() {
        let results: Vec<_> = function.ty().results().collect();
        let [Type::Result(result)] = results.as_slice() else { panic!("{} gives no result", function.name()) };
        let Some(Type::Variant(error)) = result.err() else { panic!("{} gives another error", function.name()) };
        let cases: Vec<_> = error.cases().map(|case| (case.name, case.ty.is_some())).collect();
        // Durable engines look for the last case, without a payload, and for the word `permanent`.
        assert_eq!(cases, [("permanent", true), ("transient", true), ("execution-failed", false)], "{}", function.name());
    }
}

/// The command line of wasmtime calls functions by their name alone, and the catalog finds types by theirs.
#[test]
fn names_are_unique_over_all_interfaces() {
    let host = Host::new().unwrap();
    let mut names = BTreeSet::new();
    for function in host.functions() {
        assert!(names.insert(function.name()), "two functions are named {}", function.name());
        assert!(!function.interface().is_empty(), "{} belongs to no interface", function.name());
    }
    let catalog = Catalog::new().unwrap();
    let mut types = BTreeSet::new();
    for ty in &catalog.types {
        assert!(types.insert(ty.name.as_str()), "two types are named {}", ty.name);
    }
}

/// Every engine can carry texts, numbers and plain data; not every engine can carry more.
#[test]
fn types_are_plain() {
    fn check(ty: &Type, place: &str) {
        match ty {
            Type::Bool | Type::U8 | Type::U16 | Type::U32 | Type::S8 | Type::S16 | Type::S32 => {}
            Type::Float32 | Type::Float64 | Type::String | Type::Enum(_) => {}
            Type::List(list) => {
                assert!(list.ty() != Type::U8, "{place} is a list of bytes");
                check(&list.ty(), place);
            }
            Type::Option(option) => {
                assert!(!matches!(option.ty(), Type::Option(_)), "{place} has no form in JSON");
                check(&option.ty(), place);
            }
            Type::Record(record) => record.fields().for_each(|field| check(&field.ty, &format!("{place}.{}", field.name))),
            Type::Variant(variant) => {
                for case in variant.cases() {
                    case.ty.iter().for_each(|ty| check(ty, &format!("{place}.{}", case.name)));
                }
            }
            Type::Result(result) => result.ok().iter().chain(result.err().iter()).for_each(|ty| check(ty, place)),
            other => panic!("{place} is {other:?}"),
        }
    }
    for function in Host::new().unwrap().functions() {
        for (name, ty) in function.ty().params() {
            check(&ty, &format!("{}({name})", function.name()));
        }
        function.ty().results().for_each(|ty| check(&ty, function.name()));
    }
}

fn resolve() -> Resolve {
    let mut sources = SourceMap::new();
    for (name, content) in WIT {
        sources.push_str(name, *content);
    }
    let mut resolve = Resolve::new();
    resolve.push_group(sources.parse().map_err(|(_, error)| error).unwrap()).unwrap();
    resolve
}

#[test]
fn everything_in_the_wit_is_documented() {
    let resolve = resolve();
    let check = |docs: &Docs, place: &str| {
        assert!(docs.contents.as_deref().is_some_and(|docs| !docs.trim().is_empty()), "{place} has no comment");
    };
    for (_, package) in &resolve.packages {
        check(&package.docs, "the package");
    }
    for (_, world) in &resolve.worlds {
        check(&world.docs, &world.name);
    }
    for (_, interface) in &resolve.interfaces {
        let name = interface.name.as_deref().unwrap();
        check(&interface.docs, name);
        for function in interface.functions.values() {
            check(&function.docs, &function.name);
        }
        for (name, id) in &interface.types {
            let definition = &resolve.types[*id];
            match &definition.kind {
                // Came in by `use`.
                TypeDefKind::Type(wit_parser::Type::Id(_)) => continue,
                TypeDefKind::Record(it) => it.fields.iter().for_each(|it| check(&it.docs, &it.name)),
                TypeDefKind::Variant(it) => it.cases.iter().for_each(|it| check(&it.docs, &it.name)),
                TypeDefKind::Enum(it) => it.cases.iter().for_each(|it| check(&it.docs, &it.name)),
                TypeDefKind::Flags(it) => it.flags.iter().for_each(|it| check(&it.docs, &it.name)),
                _ => {}
            }
            check(&definition.docs, name);
        }
    }
}

#[test]
fn every_function_states_its_facts() {
    for (_, interface) in &resolve().interfaces {
        for function in interface.functions.values() {
            let docs = function.docs.contents.as_deref().unwrap_or_default();
            let line = docs.lines().last().unwrap_or_default();
            assert!(Facts::parse(line).is_some(), "{}: {line}", function.name);
        }
    }
}

/// The catalog comes from the WIT, calls go by the component: both say the same.
#[test]
fn the_catalog_is_that_of_the_component() {
    let host = Host::new().unwrap();
    let catalog = Catalog::new().unwrap();
    let built: BTreeSet<_> = host
        .functions()
        .iter()
        .map(|function| {
            let inputs = function.inputs().into_iter().map(|(name, ty)| (name, !matches!(ty, Type::Option(_))));
            (function.short_interface().to_owned(), function.name().to_owned(), inputs.collect::<Vec<_>>())
        })
        .collect();
    let written: BTreeSet<_> = catalog
        .functions()
        .map(|function| {
            let inputs = function.parameters.iter().map(|field| (field.name.clone(), field.required));
            (function.interface.clone(), function.name.clone(), inputs.collect::<Vec<_>>())
        })
        .collect();
    assert_eq!(built, written);
}

/// What the README says of functions, errors and variables is what the WIT and the component say.
#[test]
fn the_readme_is_complete() {
    let readme = include_str!("../../../README.md");
    for function in Catalog::new().unwrap().functions() {
        let row = format!("| `{}.{}` |", function.interface, function.name);
        let line = readme.lines().find(|line| line.starts_with(&row)).unwrap_or_else(|| panic!("the README lacks {row}"));
        assert!(line.ends_with(&format!("| {} |", function.facts.scope)), "{line}");
    }
    for variable in memberspot_host::connection::VARIABLES {
        assert!(readme.contains(&format!("| `{variable}` |")), "the README lacks {variable}");
    }
    let example = include_str!("../../examples/embed.rs").split_once("\n\n").unwrap().1;
    assert!(readme.contains(example), "the Rust example of the README is not examples/embed.rs");
    let resolve = resolve();
    let codes = resolve.types.iter().find(|(_, ty)| ty.name.as_deref() == Some("failure-code")).unwrap().1;
    let TypeDefKind::Enum(codes) = &codes.kind else { panic!("failure-code is an enum") };
    for code in &codes.cases {
        assert!(readme.contains(&format!("| `{}` |", code.name)), "the README lacks {}", code.name);
    }
}

/// What can be done to one member can be done to many.
#[test]
fn every_writing_function_is_an_operation() {
    let catalog = Catalog::new().unwrap();
    let writing = catalog.functions().filter(|function| matches!(function.facts.scope.as_str(), "write" | "delete"));
    let mut writing: BTreeSet<_> = writing.map(|function| function.name.clone()).collect();
    // Two forms of one operation, which is about a single member.
    assert!(writing.remove("delete-users") && writing.remove("delete-users-via-post"));
    writing.insert("delete-user".into());
    let resolve = resolve();
    let operation = resolve.types.iter().find(|(_, ty)| ty.name.as_deref() == Some("operation")).unwrap().1;
    let TypeDefKind::Variant(operation) = &operation.kind else { panic!("operation is a variant") };
    assert_eq!(operation.cases.iter().map(|case| case.name.clone()).collect::<BTreeSet<_>>(), writing);
}
