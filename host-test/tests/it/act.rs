//! The flavour for ACT, as far as it can be seen without ACT: `engines/act/run.sh` calls it. It cannot be run here, since the
//! engine of the host is built without asynchronous functions.

use std::collections::BTreeSet;

use ciborium::Value;
use memberspot_host::{ACT_ADAPTER, ACT_ENVIRONMENT, COMPONENT};
use wasmparser::{Parser, Payload, Validator, WasmFeatures};
use wasmtime::component::{Component, ComponentNamedList, Instance, Lift, Linker, Lower, TypedFunc};
use wasmtime::{Engine, Store};

/// What the connector imports, but for its environment; and the store of credentials, with the types of ACT's interfaces.
const IMPORTS: [&str; 11] = [
    "act:core/types@0.4.0",
    "act:credentials/store@0.1.0",
    "act:credentials/types@0.1.0",
    "act:sessions/types@0.2.0",
    "act:tools/types@0.2.0",
    "wasi:clocks/monotonic-clock",
    "wasi:http/outgoing-handler",
    "wasi:http/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
];

const EXPORTS: [&str; 2] = ["act:sessions/session-provider@0.2.0", "act:tools/tool-provider@0.2.0"];

fn flavour() -> Vec<u8> {
    memberspot_flavours::act(COMPONENT, ACT_ADAPTER, ACT_ENVIRONMENT).unwrap()
}

#[test]
fn it_is_valid_and_has_the_interfaces_that_act_looks_for() {
    let bytes = flavour();
    Validator::new_with_features(WasmFeatures::all()).validate_all(&bytes).unwrap();
    assert_eq!(exports(&bytes), EXPORTS);
}

fn exports(component: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(component) {
        match payload.unwrap() {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentExportSection(section) if depth == 0 => {
                names.extend(section.into_iter().map(|export| export.unwrap().name.name.to_owned()));
            }
            _ => {}
        }
    }
    names.sort();
    names
}

#[test]
fn it_asks_for_no_more_than_is_stated() {
    let imports = memberspot_flavours::imports(&flavour()).unwrap();
    let imports: Vec<_> =
        imports.iter().map(|it| if it.starts_with("wasi:") { it.split('@').next().unwrap() } else { it }).collect();
    assert_eq!(imports, IMPORTS);
}

#[test]
fn the_same_bytes_come_out_each_time() {
    assert!(flavour() == flavour());
}

/// A component that is not ours does not become one for ACT that only fails when it is called.
#[test]
fn other_bytes_are_refused() {
    assert!(memberspot_flavours::act(b"", ACT_ADAPTER, ACT_ENVIRONMENT).is_err());
    assert!(memberspot_flavours::act(ACT_ENVIRONMENT, ACT_ADAPTER, ACT_ENVIRONMENT).is_err());
}

/// Each core module of the parts has a stack; that of the connector's size is what `.cargo/config.toml` sets.
#[test]
fn it_is_small() {
    let bytes = flavour().len();
    assert!(bytes <= COMPONENT.len() + (200 << 10), "{bytes} bytes");
}

#[test]
fn the_most_that_an_operator_can_allow_is_memberspot_and_this_machine() {
    let manifest = manifest(&flavour());
    let allowed = field(field(field(&manifest, "capabilities"), "wasi:http"), "constraints").as_array().unwrap();
    let origin = |it: &Value| {
        let part = |name| field(it, name).as_text().unwrap().to_owned();
        format!("{}://{}", part("scheme"), part("host"))
    };
    let allowed: Vec<_> = allowed.iter().map(origin).collect();
    assert_eq!(allowed, ["https://api.memberspot.de", "http://127.0.0.1", "http://localhost", "http://[::1]"]);
    let names: Vec<_> = entries(field(&manifest, "capabilities")).map(|(name, _)| name).collect();
    assert_eq!(names.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from(["act:credentials", "wasi:http"]));
}

#[test]
fn of_what_a_credential_takes_the_key_is_the_secret() {
    let manifest = manifest(&flavour());
    let [credential] = &field(&manifest, "credentials").as_array().unwrap()[..] else { panic!("one credential") };
    for it in field(credential, "fields").as_array().unwrap() {
        let is_key = field(it, "key").as_text() == Some("memberspot:api-key");
        assert_eq!(field(it, "secret").as_bool(), Some(is_key));
        assert_eq!(field(it, "required").as_bool(), Some(is_key));
    }
}

/// The manifest's part for ACT itself.
fn manifest(component: &[u8]) -> Value {
    let section = Parser::new(0).parse_all(component).find_map(|payload| match payload.unwrap() {
        Payload::CustomSection(section) if section.name() == "act:component" => Some(section.data().to_vec()),
        _ => None,
    });
    let manifest: Value = ciborium::from_reader(&section.unwrap()[..]).unwrap();
    field(&manifest, "std").clone()
}

fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_map().unwrap().iter().map(|(name, value)| (name.as_text().unwrap(), value))
}

fn field<'a>(value: &'a Value, name: &str) -> &'a Value {
    entries(value).find(|(it, _)| *it == name).unwrap_or_else(|| panic!("no {name}")).1
}

type Variables = Vec<(String, String)>;

/// The part that stands behind the connector, in an engine of its own.
struct Environment {
    store: Store<()>,
    instance: Instance,
}

impl Environment {
    fn new() -> Self {
        let engine = Engine::default();
        let component = Component::from_binary(&engine, ACT_ENVIRONMENT).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Linker::new(&engine).instantiate(&mut store, &component).unwrap();
        Self { store, instance }
    }

    fn call<P, R>(&mut self, interface: &str, function: &str, parameters: P) -> wasmtime::Result<R>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift + 'static,
    {
        let interface = self.instance.get_export_index(&mut self.store, None, interface).unwrap();
        let function = self.instance.get_export_index(&mut self.store, Some(&interface), function).unwrap();
        let function: TypedFunc<P, R> = self.instance.get_typed_func(&mut self.store, function)?;
        function.call(&mut self.store, parameters)
    }

    fn put(&mut self, variables: Variables) -> wasmtime::Result<()> {
        self.call("memberspot:act/variables@0.1.0", "put", (variables,))
    }

    fn variables(&mut self) -> Variables {
        let (variables,) = self.call("wasi:cli/environment@0.2.12", "get-environment", ()).unwrap();
        variables
    }
}

fn key(value: &str) -> Variables {
    vec![("MEMBERSPOT_API_KEY".to_owned(), value.to_owned())]
}

#[test]
fn the_variables_are_those_of_the_call_under_way() {
    let mut environment = Environment::new();
    assert_eq!(environment.variables(), []);
    for value in ["one", "two"] {
        environment.put(key(value)).unwrap();
        assert_eq!(environment.variables(), key(value));
        environment.call::<_, ()>("memberspot:act/variables@0.1.0", "clear", ()).unwrap();
        assert_eq!(environment.variables(), []);
    }
}

/// Better no answer than one with somebody else's key.
#[test]
fn a_call_cannot_take_the_place_of_another() {
    let mut environment = Environment::new();
    environment.put(key("one")).unwrap();
    assert!(environment.put(key("two")).is_err());
}
