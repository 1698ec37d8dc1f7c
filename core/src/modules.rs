//! `modules`: the component describes itself, and runs what it describes with JSON. All of it is made from the WIT by the
//! build script: the descriptions, the schemas, and the way from an id to a function.

use serde::Serialize;

use crate::{
    client::Session,
    error::{Nature, Trouble, invalid_input},
    form,
    function::{Function, LIST_OPTIONS, Repeat},
    input::{Decode, Fields, Place, nearest, refused},
    json::Json,
    request::{offers, properties},
    transport::Transport,
    wit::{
        modules::{Choice, Module, ModuleHints, ModuleKind, OptionsRequest},
        offers::Offer,
        types::{Error, FailureCode, Scope},
    },
};

/// The longest input: some times what ten thousand operations have.
const MOST_INPUT_BYTES: usize = 8 << 20;
/// The interface of functions that tell what has happened. None of them changes anything.
const TRIGGERS: &str = "triggers";
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// What the WIT says of a function.
struct Description {
    function: &'static Function,
    docs: &'static str,
    /// Schemas; see the build script.
    input: &'static str,
    output: &'static str,
}

impl Description {
    fn id(&self) -> String {
        format!("{}.{}", self.function.interface, self.function.name)
    }

    fn find(id: &str) -> Result<&'static Self, Error> {
        let (interface, name) = id.split_once('.').unwrap_or_default();
        let found = MODULES.iter().find(|it| it.function.interface == interface && it.function.name == name);
        found.ok_or_else(|| unknown(id))
    }
}

/// `modules.list-modules`
pub fn list_modules() -> Vec<Module> {
    let describe = |it: &Description| {
        let Function { scopes, repeat, limit, .. } = *it.function;
        let needs = scopes.iter().next();
        let is_trigger = it.function.interface == TRIGGERS;
        Module {
            id: it.id(),
            title: title(it.function.name),
            description: it.docs.to_owned(),
            kind: match needs {
                _ if is_trigger => ModuleKind::Trigger,
                Some(Scope::Read) => ModuleKind::Search,
                Some(Scope::Raw) => ModuleKind::Raw,
                _ => ModuleKind::Action,
            },
            needs,
            hints: ModuleHints {
                read_only: is_trigger || needs == Some(Scope::Read),
                // What needs no scope by itself needs that of what it is told to do.
                destructive: !is_trigger && matches!(needs, None | Some(Scope::Delete | Scope::Raw)),
                idempotent: repeat == Repeat::Safe,
                requests_per_second: limit,
            },
            input_schema: schema(it.input),
            output_schema: schema(it.output),
        }
    };
    MODULES.iter().map(describe).collect()
}

/// `Grant access`
fn title(name: &str) -> String {
    let mut title = name.replace('-', " ");
    if let Some(first) = title.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    title
}

fn schema(inside: &str) -> String {
    let mut schema = format!("{{\"$schema\":\"{DIALECT}\",");
    expand(inside, &mut schema);
    schema
}

/// Puts the text of each type in its place.
fn expand(text: &str, into: &mut String) {
    for (nth, part) in text.split('\u{1}').enumerate() {
        // Every other part is the number of a type.
        match part.parse::<usize>().ok().filter(|_| nth % 2 == 1).and_then(|number| TYPES.get(number)) {
            Some(ty) => expand(ty, into),
            None => into.push_str(part),
        }
    }
}

fn done<T: Serialize>(result: Result<T, Error>) -> Result<String, Error> {
    result.map(|result| form::text(&result))
}

fn unknown(id: &str) -> Error {
    let ids: Vec<String> = MODULES.iter().map(Description::id).collect();
    match nearest(id, ids.iter().map(String::as_str)) {
        Some(nearest) => invalid_input("id", format_args!("is not known; did you mean {nearest}?")),
        None => invalid_input("id", "is not known; list-modules tells all"),
    }
}

/// Parses the input of a module.
fn parse(text: &str) -> Result<Json<'_>, Error> {
    if text.len() > MOST_INPUT_BYTES {
        let message = format!("the input has {} bytes; at most {MOST_INPUT_BYTES} are taken", text.len());
        return Err(Trouble::refused(FailureCode::TooLarge, message).into_error(Nature::Read, 0));
    }
    Json::parse(text).ok_or_else(|| refused(&Place::ALL, "is not JSON"))
}

/// Where the choices for a field come from.
enum Source {
    Offers,
    Courses,
    Properties,
}

impl Source {
    fn of(field: &str) -> Option<Self> {
        match field {
            "offerId" => Some(Self::Offers),
            "courseId" => Some(Self::Courses),
            "property" => Some(Self::Properties),
            _ => None,
        }
    }
}

/// `modules.list-options`
pub async fn list_options(session: &Session<impl Transport>, request: &OptionsRequest) -> Result<Vec<Choice>, Error> {
    let module = Description::find(&request.module_id)?;
    let has_field = schema(module.input).contains(&format!("\"{}\":{{", request.field));
    let source = Source::of(&request.field).filter(|_| has_field);
    let source =
        source.ok_or_else(|| invalid_input("field", "has no drop-down; a field that has one says x-options in its schema"))?;
    let client = session.client();
    let mut choices: Vec<Choice> = match source {
        Source::Offers => {
            let offers = client.call(offers::list_offers().within(&LIST_OPTIONS)).await?;
            offers.into_iter().map(|offer| choice(offer.id, offer.name)).collect()
        }
        Source::Courses => courses(client.call(offers::list_offers().within(&LIST_OPTIONS)).await?),
        Source::Properties => {
            let properties = client.call(properties::list_properties().within(&LIST_OPTIONS)).await?;
            properties.into_iter().map(|property| choice(property.id, property.name)).collect()
        }
    };
    if let Some(search) = &request.search {
        let search = search.to_ascii_lowercase();
        choices.retain(|choice| choice.label.to_ascii_lowercase().contains(&search));
    }
    Ok(choices)
}

fn choice(value: String, name: Option<String>) -> Choice {
    Choice { label: name.unwrap_or_else(|| value.clone()), value }
}

/// The courses of all offers. They have no names here, so each is shown with the offers that have it.
fn courses(offers: Vec<Offer>) -> Vec<Choice> {
    let mut courses: Vec<(String, String)> = vec![];
    for offer in offers {
        let name = offer.name.unwrap_or(offer.id);
        for course in offer.course_ids {
            match courses.iter_mut().find(|(known, _)| *known == course) {
                Some((_, names)) => {
                    names.push_str(", ");
                    names.push_str(&name);
                }
                None => courses.push((course, name.clone())),
            }
        }
    }
    courses.into_iter().map(|(value, names)| Choice { label: format!("{value} ({names})"), value }).collect()
}

include!(concat!(env!("OUT_DIR"), "/modules.rs"));
