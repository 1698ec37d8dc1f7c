//! What the component says of itself, and whether it keeps to it.

use std::collections::BTreeSet;

use memberspot_host::catalog::Catalog;
use memberspot_host::{Connection, Outcome};
use serde_json::{Map, Value, json};

use crate::refusals::valid_inputs;
use crate::stage::{Failure, Stage, call, host};

/// A module, with its schemas read.
struct Module {
    id: String,
    description: Value,
    input: Value,
    output: Value,
}

impl Module {
    fn function(&self) -> &str {
        self.id.split_once('.').expect("an interface").1
    }
}

/// Needs neither a key nor a server.
async fn modules() -> Vec<Module> {
    let list = call(&Connection::new(""), "list-modules", json!({})).await.unwrap();
    let schema = |module: &Value, name: &str| -> Value {
        let schema: Value = serde_json::from_str(module[name].as_str().expect("a text")).expect("JSON");
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        schema
    };
    let modules = list.as_array().expect("a list").iter().map(|module| Module {
        id: module["id"].as_str().expect("an id").to_owned(),
        input: schema(module, "inputSchema"),
        output: schema(module, "outputSchema"),
        description: module.clone(),
    });
    modules.collect()
}

async fn run(connection: &Connection, id: &str, input: &Value) -> Result<Value, Failure> {
    let result = call(connection, "run-module", json!({"id": id, "inputJson": input.to_string()})).await?;
    Ok(serde_json::from_str(result.as_str().expect("a text")).expect("JSON"))
}

#[tokio::test]
async fn every_function_is_a_module_and_is_what_the_wit_says() {
    let modules = modules().await;
    let catalog = Catalog::new().unwrap();
    let functions: Vec<_> = catalog.functions().filter(|function| function.interface != "modules").collect();
    let ids: Vec<_> = modules.iter().map(|module| module.id.clone()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), functions.len());
    for function in functions {
        let id = format!("{}.{}", function.interface, function.name);
        let module = modules.iter().find(|module| module.id == id).unwrap_or_else(|| panic!("{id} is no module"));
        let it = &module.description;
        let facts = &function.facts;
        assert_eq!(it["description"], function.docs, "{id}");
        assert_eq!(it["title"].as_str().unwrap().to_lowercase(), function.name.replace('-', " "));
        let needs = it.get("needs").and_then(Value::as_str).unwrap_or("by-operation");
        assert_eq!(needs, facts.scope);
        let kind = match facts.scope.as_str() {
            "read" => "search",
            "raw" => "raw",
            _ => "action",
        };
        assert_eq!(it["kind"], kind);
        let limit = it["hints"].get("requestsPerSecond").map_or("none".to_owned(), |limit| format!("{limit}/s"));
        assert_eq!(limit, facts.limit);
        let destructive = ["delete", "raw", "by-operation"].contains(&facts.scope.as_str());
        let expected =
            json!({"readOnly": facts.scope == "read", "destructive": destructive, "idempotent": facts.repeat == "safe"});
        for (hint, value) in expected.as_object().unwrap() {
            assert_eq!(it["hints"][hint], *value, "{id} {hint}");
        }
        let fields: BTreeSet<_> = module.input["properties"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(fields.len(), function.parameters.len(), "{id}");
    }
}

/// A value that a schema allows: the least, or one with all that may be there, in the nth of each variant's cases.
fn valid(schema: &Value, all: bool, nth: usize) -> Value {
    if let Some(cases) = schema["oneOf"].as_array() {
        return valid(&cases[nth % cases.len()], all, nth);
    }
    if let Some(constant) = schema.get("const") {
        return constant.clone();
    }
    if let Some(names) = schema["enum"].as_array() {
        return names[nth % names.len()].clone();
    }
    match schema["type"].as_str().expect("a type") {
        "object" => {
            let required: Vec<_> = schema["required"].as_array().into_iter().flatten().collect();
            let fields = schema["properties"].as_object().expect("properties").iter();
            let fields = fields.filter(|(name, _)| all || required.iter().any(|required| **required == **name));
            Value::Object(fields.map(|(name, schema)| (name.clone(), valid(schema, all, nth))).collect())
        }
        "array" => json!([valid(&schema["items"], all, nth)]),
        "string" => json!("text"),
        "boolean" => json!(true),
        "integer" => json!(7),
        other => panic!("{other}"),
    }
}

/// Every way to spoil a value that a schema allows, with the place that is then wrong.
fn spoiled(schema: &Value, value: &Value, place: &str) -> Vec<(Value, String)> {
    let mut all = vec![];
    let here = if place.is_empty() { "input".to_owned() } else { place.to_owned() };
    // Of another type. A text that is none of the names is one, too.
    let others = [json!([[]]), json!({"no": "such"}), json!(-1), json!(1.5), json!("no such"), json!(true)];
    let is_text = schema["type"] == "string" && schema.get("enum").is_none();
    for other in others {
        let same = match &other {
            Value::String(_) => is_text,
            Value::Bool(_) => value.is_boolean(),
            Value::Array(_) => value.is_array(),
            Value::Object(_) => value.is_object(),
            _ => false,
        };
        if !same {
            let is_tag = schema.get("const").is_some();
            all.push((other, if is_tag { place.to_owned() } else { here.clone() }));
        }
    }
    let schema = match schema["oneOf"].as_array() {
        Some(cases) => cases.iter().find(|case| case["properties"]["tag"]["const"] == value["tag"]).expect("a case"),
        None => schema,
    };
    if let Some(fields) = value.as_object() {
        let mut more = fields.clone();
        more.insert("unheardOf".into(), json!(1));
        all.push((Value::Object(more), here));
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            for gone in [None, Some(Value::Null)] {
                let mut less = fields.clone();
                match gone {
                    None => less.remove(name),
                    Some(null) => less.insert(name.into(), null),
                };
                all.push((Value::Object(less), format!("{place}/{name}")));
            }
        }
        for (name, inner) in fields {
            let with = |inner: Value| {
                let mut other: Map<_, _> = fields.clone();
                other.insert(name.clone(), inner);
                Value::Object(other)
            };
            let below = spoiled(&schema["properties"][name], inner, &format!("{place}/{name}"));
            all.extend(below.into_iter().map(|(inner, place)| (with(inner), place)));
        }
    }
    if let Some([item]) = value.as_array().map(Vec::as_slice) {
        let below = spoiled(&schema["items"], item, &format!("{place}/0"));
        all.extend(below.into_iter().map(|(item, place)| (json!([item]), place)));
    }
    all
}

/// Without a key, what fits the schema is not configured, and what does not is refused before that.
#[tokio::test]
async fn schema_and_decoder_agree() {
    let connection = Connection::new("");
    let mut refused = 0;
    for module in modules().await {
        for nth in 0..11 {
            for all in [false, true] {
                let input = valid(&module.input, all, nth);
                let failure = run(&connection, &module.id, &input).await.unwrap_err();
                assert_eq!(failure.code, "notConfigured", "{} {input}: {}", module.id, failure.message);
                if nth > 0 && module.input.to_string().find("oneOf").is_none() {
                    continue;
                }
                for (input, place) in spoiled(&module.input, &input, "") {
                    let failure = run(&connection, &module.id, &input).await.expect_err(&module.id);
                    failure.assert_unsent("invalidInput");
                    assert!(failure.message.starts_with(&format!("{place}: ")), "{} {input}: {}", module.id, failure.message);
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 500, "{refused} mutations");
}

/// Whether a value is what a schema promises.
fn fits(schema: &Value, value: &Value) -> bool {
    let cases = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array());
    if let Some(cases) = cases {
        return cases.iter().any(|case| fits(case, value));
    }
    if let Some(constant) = schema.get("const") {
        return constant == value;
    }
    if let Some(names) = schema["enum"].as_array() {
        return names.contains(value);
    }
    match schema["type"].as_str() {
        Some("object") => value.as_object().is_some_and(|fields| {
            let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let known = |(name, value): (&String, &Value)| fits(&schema["properties"][name], value);
            required.into_iter().all(|name| fields.contains_key(name)) && fields.iter().all(known)
        }),
        Some("array") => value.as_array().is_some_and(|items| items.iter().all(|item| fits(&schema["items"], item))),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("null") => value.is_null(),
        _ => false,
    }
}

#[tokio::test]
async fn a_module_does_what_its_function_does() {
    let modules = modules().await;
    let mut inputs = valid_inputs();
    let grant = json!({"tag": "grantAccess", "val": {"email": "ada@example.com", "offerId": "offer-breath"}});
    inputs.push(("apply-operations", json!({"operations": [grant], "stopOnError": false}), &[]));
    for (function, input, _) in inputs.into_iter().filter(|(function, ..)| *function != "list-options") {
        let module = modules.iter().find(|module| module.function() == function).expect(function);
        let (typed, untyped) = (Stage::new().await, Stage::new().await);
        let expected = typed.call(function, input.clone()).await;
        let found = run(&untyped.connection, &module.id, &input).await;
        let sent = |stage: &Stage| {
            let journal = stage.simulator.journal().into_iter();
            journal
                .map(|entry| format!("{} {} {} {:?}", entry.method, entry.path, entry.query, entry.json()))
                .collect::<Vec<_>>()
        };
        assert_eq!(sent(&untyped), sent(&typed), "{function}");
        match (expected, found) {
            (Ok(expected), Ok(found)) => {
                assert!(fits(&module.output, &found), "{function}: {found}");
                // What differs from call to call, or from server to server.
                if !["call-api", "check-connection", "create-login-token"].contains(&function) {
                    assert_eq!(found, expected, "{function}");
                }
            }
            (expected, found) => assert_eq!(found, expected, "{function}"),
        }
    }
}

#[tokio::test]
async fn mistakes_are_explained() {
    let connection = Connection::new("");
    let message = async |id: &str, input: &str| {
        let outcome = host()
            .call(&host().tenant("t", connection.clone()), "run-module", &json!({"id": id, "inputJson": input}))
            .await
            .unwrap();
        let Outcome::Failure(error) = outcome else { panic!("{id} {input} was taken") };
        error.to_json()["val"]["message"].as_str().unwrap().to_owned()
    };
    assert!(message("access.grant-acess", "{}").await.contains("access.grant-access"));
    assert!(message("grant-access", "{}").await.contains("access.grant-access"));
    assert!(message("access.grant-access", r#"{"email": "a@b.de", "offer_id": "o"}"#).await.contains("offerId"));
    assert!(message("offers.list-offers", r#"{"x": 1}"#).await.starts_with("input: "));
    for junk in ["", "{", "[]", "null", "1", "\"\"", "{\"email\": \"a@b.de\",}", &"[".repeat(100_000), "\u{0}"] {
        assert!(message("access.grant-access", junk).await.starts_with("input: "), "{junk:?}");
    }
    let failure = call(&connection, "run-module", json!({"id": "offers.list-offers", "inputJson": " ".repeat(9 << 20)})).await;
    assert_eq!(failure.unwrap_err().code, "tooLarge");
}

#[tokio::test]
async fn drop_downs_are_filled() {
    let stage = Stage::new().await;
    let options = async |module: &str, field: &str, search: Option<&str>| {
        let input = json!({"moduleId": module, "field": field, "search": search});
        let choices = stage.call("list-options", input).await.unwrap();
        choices.as_array().unwrap().iter().map(|choice| (choice["value"].clone(), choice["label"].clone())).collect::<Vec<_>>()
    };
    let offers = options("access.grant-access", "offerId", None).await;
    assert!(
        offers.len() > 1
            && offers.contains(&(json!("offer-breath"), json!(stage.school().offer("offer-breath").unwrap().name)))
    );
    assert_eq!(options("users.list-users", "offerId", Some("BREATH")).await.len(), 1);
    let courses = options("chapters.enable-chapter-access", "courseId", None).await;
    assert_eq!(courses.iter().map(|(value, _)| value.to_string()).collect::<BTreeSet<_>>().len(), courses.len());
    let properties = options("properties.set-properties", "property", Some("level")).await;
    assert_eq!(properties, [(json!("prop-level"), json!("Level"))]);
    // Every field that says so has one.
    for module in modules().await {
        let text = module.input.to_string();
        let marked = text.matches("\"x-options\":true").count();
        let fields = ["offerId", "courseId", "property"].into_iter().filter(|field| text.contains(&format!("\"{field}\":{{")));
        assert_eq!(marked > 0, fields.clone().count() > 0, "{}", module.id);
        for field in fields {
            assert!(!options(&module.id, field, None).await.is_empty());
        }
    }
}
