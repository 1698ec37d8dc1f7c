//! The component in other wrappings: what is in them, and that they work.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use memberspot_host::catalog::{Catalog, WIT};
use memberspot_host::simulator::{Clock, Options, Simulator};
use memberspot_host::{COMPONENT, Host};
use serde_json::json;
use wasmparser::{ComponentTypeRef, ExternalKind, Parser, Payload, TypeBounds, Validator};
use wit_parser::decoding::{DecodedWasm, decode};
use wit_parser::{Function, Resolve, Type, TypeDefKind, WorldItem};

use crate::stage::{Stage, host};

pub fn tools() -> &'static [u8] {
    static TOOLS: OnceLock<Vec<u8>> = OnceLock::new();
    TOOLS.get_or_init(|| memberspot_flavours::tools(COMPONENT, WIT).unwrap())
}

fn host_of_tools() -> &'static Host {
    static HOST: OnceLock<Host> = OnceLock::new();
    HOST.get_or_init(|| Host::builder().component(tools()).allow_all_internal().build().unwrap())
}

async fn stage_of_tools() -> Stage {
    let options = Options { clock: Clock::manual(), rate_limit: None, ..Options::default() };
    Stage::on(Simulator::start(options).await.unwrap(), host_of_tools())
}

/// The component as anybody reads it who has nothing else.
fn decoded() -> (Resolve, Vec<Function>) {
    let DecodedWasm::Component(resolve, world) = decode(tools()).unwrap() else { panic!("this is no component") };
    let functions = resolve.worlds[world].exports.values().map(|item| match item {
        WorldItem::Function(function) => function.clone(),
        other => panic!("{other:?} is no function"),
    });
    let functions = functions.collect();
    (resolve, functions)
}

/// The imports of a component: interfaces, and the names of types that nobody has to provide.
fn imports(component: &[u8]) -> (Vec<String>, Vec<String>) {
    let (mut interfaces, mut types) = (vec![], vec![]);
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(component) {
        match payload.unwrap() {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    let import = import.unwrap();
                    match import.ty {
                        ComponentTypeRef::Instance(_) => interfaces.push(import.name.name.to_owned()),
                        ComponentTypeRef::Type(TypeBounds::Eq(_)) => types.push(import.name.name.to_owned()),
                        other => panic!("{} is {other:?}", import.name.name),
                    }
                }
            }
            _ => {}
        }
    }
    (interfaces, types)
}

type Sections<'a> = Vec<(u8, &'a [u8])>;
type Exports<'a> = BTreeMap<&'a str, (ExternalKind, u32)>;

/// The first core module: what engines read of it but its exports, and these.
fn core_module(component: &[u8]) -> (Sections<'_>, Exports<'_>) {
    let (mut sections, mut exports) = (vec![], BTreeMap::new());
    let module = Parser::new(0).parse_all(component).find_map(|payload| match payload.unwrap() {
        Payload::ModuleSection { unchecked_range, .. } => Some(unchecked_range),
        _ => None,
    });
    let range = |range: std::ops::Range<u64>| usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
    let module = &component[range(module.unwrap())];
    for payload in Parser::new(0).parse_all(module) {
        match payload.unwrap() {
            Payload::ExportSection(section) => {
                exports.extend(section.into_iter().map(|it| it.unwrap()).map(|it| (it.name, (it.kind, it.index))));
            }
            Payload::CustomSection(_) => {}
            payload => sections.extend(payload.as_section().map(|(id, bytes)| (id, &module[range(bytes)]))),
        }
    }
    (sections, exports)
}

#[test]
fn tools_are_the_same_bytes_each_time() {
    assert!(memberspot_flavours::tools(COMPONENT, WIT).unwrap() == tools());
}

#[test]
fn tools_are_a_valid_component() {
    Validator::new().validate_all(tools()).unwrap();
}

#[test]
fn tools_import_the_interfaces_of_the_connector_and_no_others() {
    let (interfaces, types) = imports(tools());
    assert_eq!((interfaces, vec![]), imports(COMPONENT));
    // What a world's function takes has a name that is imported.
    assert!(types.contains(&"grant-request".to_owned()), "{types:?}");
}

#[test]
fn tools_are_the_code_of_the_connector() {
    let (sections, exports) = core_module(tools());
    let (connector, all) = core_module(COMPONENT);
    assert!(sections.iter().any(|(id, code)| *id == 10 && code.len() > 100_000), "there is no code");
    assert!(sections == connector);
    let renamed = all.iter().filter(|(name, _)| !name.contains("/modules@")).map(|(name, what)| {
        let clean_up = if name.starts_with("cabi_post_") { "cabi_post_" } else { "" };
        (name.split_once('#').map_or((*name).to_owned(), |(_, name)| format!("{clean_up}{name}")), *what)
    });
    let exports: BTreeMap<_, _> = exports.into_iter().map(|(name, what)| (name.to_owned(), what)).collect();
    assert_eq!(exports, renamed.collect());
}

#[test]
fn every_function_is_a_tool_but_those_that_describe() {
    let (_, tools) = decoded();
    let tools: Vec<_> = tools.iter().map(|tool| tool.name.as_str()).collect();
    let catalog = Catalog::new().unwrap();
    let functions = catalog.functions().filter(|function| function.interface != "modules");
    assert_eq!(tools, functions.map(|function| function.name.as_str()).collect::<Vec<_>>());
}

#[test]
fn a_tool_takes_and_gives_what_the_function_does() {
    for function in host().functions().iter().filter(|function| function.short_interface() != "modules") {
        let tool = host_of_tools().function(function.name()).unwrap();
        assert_eq!(tool.interface(), "");
        assert_eq!(tool.ty().params().collect::<Vec<_>>(), function.ty().params().collect::<Vec<_>>(), "{}", tool.name());
        assert_eq!(tool.ty().results().collect::<Vec<_>>(), function.ty().results().collect::<Vec<_>>(), "{}", tool.name());
    }
}

/// Hosts of agents show nothing else.
#[test]
fn a_description_says_what_a_tool_does_and_what_each_field_means() {
    let (resolve, tools) = decoded();
    let catalog = Catalog::new().unwrap();
    for tool in &tools {
        let description = tool.docs.contents.as_deref().unwrap();
        let function = catalog.function(&tool.name).unwrap();
        let begins = |text: &str| text.chars().take(40).collect::<String>();
        assert!(description.starts_with(&begins(&function.docs)), "{description}");
        assert!(!description.contains("Scope: "), "the facts are not in words: {description}");
        for function in catalog.functions() {
            let old_name = format!("`{}.{}`", function.interface, function.name);
            assert!(!description.contains(&old_name), "{}: {old_name}", tool.name);
        }
        for parameter in &tool.params {
            expect_line(&resolve, description, 0, &parameter.name, Some(parameter.ty));
        }
    }
}

/// There is a line for this field, and for those that it is made of.
fn expect_line(resolve: &Resolve, description: &str, depth: usize, name: &str, ty: Option<Type>) {
    let kind = |ty: Option<Type>| match ty {
        Some(Type::Id(id)) => Some(&resolve.types[id].kind),
        _ => None,
    };
    let (mut inside, mut optional) = (kind(ty), "");
    while let Some(TypeDefKind::Option(ty) | TypeDefKind::List(ty)) = inside {
        optional = if let Some(TypeDefKind::Option(_)) = inside { " (or null)" } else { optional };
        inside = kind(Some(*ty));
    }
    let line = format!("{}- `{name}`{optional}", "  ".repeat(depth));
    let found =
        description.lines().any(|it| it == line || it.starts_with(&format!("{line}:")) || it == format!("{line} One of:"));
    assert!(found, "{line:?} is not in {description}");
    match inside {
        Some(TypeDefKind::Record(it)) => {
            it.fields.iter().for_each(|it| expect_line(resolve, description, depth + 1, &it.name, Some(it.ty)));
        }
        Some(TypeDefKind::Variant(it)) => {
            it.cases.iter().for_each(|it| expect_line(resolve, description, depth + 1, &it.name, it.ty));
        }
        Some(TypeDefKind::Enum(it)) => {
            it.cases.iter().for_each(|it| expect_line(resolve, description, depth + 1, &it.name, None));
        }
        _ => {}
    }
}

#[tokio::test]
async fn tools_play_the_story() {
    crate::story::play(&stage_of_tools().await).await;
}

#[tokio::test]
async fn tools_fail_as_the_functions_do() {
    let stage = stage_of_tools().await;
    let grant = json!({"email": "ada@example.com", "offerId": "no-such-offer"});
    let failure = stage.call("grant-access", grant.clone()).await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.status, failure.attempts), ("notFound", Some(404), 1));
    assert_eq!(stage.request().status(), Some(404));

    let reader = stage.connection.clone().scopes("read");
    stage.call_with(&reader, "grant-access", grant).await.unwrap_err().assert_unsent("notPermitted");
    assert_eq!(stage.simulator.journal().len(), 1);
}

#[test]
fn only_the_connector_becomes_tools() {
    let error = |component: &[u8], wit| memberspot_flavours::tools(component, wit).unwrap_err();
    use memberspot_flavours::Error;
    assert!(matches!(error(b"", WIT), Error::Component(_)));
    assert!(matches!(error(b"\0asm\x01\0\0\0", WIT), Error::Component(_)));
    assert!(matches!(error(&COMPONENT[..COMPONENT.len() / 2], WIT), Error::Component(_)));
    // Tools have no interfaces, so nothing of them becomes a tool.
    assert!(matches!(error(tools(), WIT), Error::Component(_)));
    let other = &[("world.wit", "package a:b; world c { export d; } interface d {}")];
    assert!(matches!(error(COMPONENT, other), Error::Wit(_)));
    assert!(matches!(error(COMPONENT, &[("world.wit", "package")]), Error::Wit(_)));
}
