//! Reads the comments of the connector's WIT: the facts of a function, and what its parameters mean.

use wit_parser::{Docs, Function, InterfaceId, Resolve, Type, TypeDefKind, TypeId};

/// The interface by which the component describes itself: its types say nothing of what other functions take.
pub const MODULES: &str = "modules";

/// The last line of a function's comment: `Scope: read. Repeat: safe. Limit: 4/s.`
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "camelCase"))]
pub struct Facts {
    /// The permission that it needs: `read`, `write`, `delete`, `login` or `raw`; `none`; or what it depends on:
    /// `by-operation`, `by-module`.
    pub scope: String,
    /// Whether the same call may be made twice without further effect: `safe`, or `by-method` of the request.
    pub repeat: String,
    /// Memberspot's own limit for the route, such as `4/s`, or `none`.
    pub limit: String,
}

impl Facts {
    /// Reads `Scope: read. Repeat: safe. Limit: 4/s.`
    pub fn parse(line: &str) -> Option<Self> {
        let (scope, rest) = line.strip_prefix("Scope: ")?.split_once(". Repeat: ")?;
        let (repeat, limit) = rest.strip_suffix('.')?.split_once(". Limit: ")?;
        let known = ["read", "write", "delete", "login", "raw", "none", "by-operation", "by-module"].contains(&scope)
            && ["safe", "by-method"].contains(&repeat);
        let facts = Self { scope: scope.into(), repeat: repeat.into(), limit: limit.into() };
        (known && (limit == "none" || facts.per_second().is_some())).then_some(facts)
    }

    /// How often a second Memberspot lets the route be used, if it says so.
    pub fn per_second(&self) -> Option<u32> {
        self.limit.strip_suffix("/s")?.parse().ok()
    }
}

/// What a function does, and its facts. The error is what stands in place of the facts.
pub fn function(function: &Function) -> Result<(&str, Facts), &str> {
    let comment = function.docs.contents.as_deref().unwrap_or_default().trim();
    let (docs, line) = comment.rsplit_once('\n').unwrap_or(("", comment));
    let line = line.trim();
    Facts::parse(line).map(|facts| (docs.trim_end(), facts)).ok_or(line)
}

/// A comment on one line.
pub fn on_one_line(docs: &Docs) -> String {
    let lines = docs.contents.as_deref().unwrap_or_default().lines().map(str::trim);
    lines.collect::<Vec<_>>().join(" ").trim().to_owned()
}

/// What a parameter is. Parameters have no comments of their own: it is the item of a list in the function's comment that
/// begins with its name, or else what is said of the fields of its name, those of the same interface first. Of these it is the
/// shortest first sentence, since whatever goes beyond it is about the record of that field.
pub fn parameter(resolve: &Resolve, interface: InterfaceId, function: &Function, name: &str) -> String {
    if let Some(item) = listed(function, name) {
        return item;
    }
    let sentence = |id: InterfaceId| {
        let types = resolve.interfaces[id].types.values();
        let records = types.filter_map(|ty| match &resolve.types[*ty].kind {
            TypeDefKind::Record(record) => Some(record),
            _ => None,
        });
        let fields = records.flat_map(|record| record.fields.iter().filter(|field| field.name == name));
        fields.map(|field| first_sentence(&on_one_line(&field.docs))).min_by_key(String::len)
    };
    let others = resolve.interfaces.iter().filter(|(_, it)| it.name.as_deref() != Some(MODULES)).map(|(id, _)| id);
    std::iter::once(interface).chain(others).find_map(sentence).unwrap_or_default()
}

fn listed(function: &Function, name: &str) -> Option<String> {
    let lines = function.docs.contents.as_deref()?.lines().map(str::trim);
    let begin = format!("- `{name}`: ");
    let mut item = lines.skip_while(|line| !line.starts_with(&begin)).take_while(|line| !line.is_empty());
    let first = item.next()?.strip_prefix(&begin)?.to_owned();
    Some(item.take_while(|line| !line.starts_with("- ")).fold(first, |text, line| text + " " + line))
}

/// Up to a full stop with a space or the end behind it.
fn first_sentence(text: &str) -> String {
    text.split_once(". ").map_or_else(|| text.to_owned(), |(sentence, _)| format!("{sentence}."))
}

/// The type itself, where an interface took it from another one.
pub fn resolved(resolve: &Resolve, id: TypeId) -> TypeId {
    match resolve.types[id].kind {
        TypeDefKind::Type(Type::Id(id)) => resolved(resolve, id),
        _ => id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_have_one_form() {
        let facts = Facts::parse("Scope: read. Repeat: by-method. Limit: 4/s.").unwrap();
        assert_eq!((facts.scope.as_str(), facts.repeat.as_str(), facts.limit.as_str()), ("read", "by-method", "4/s"));
        for line in [
            "",
            "Scope: read. Repeat: safe. Limit: none",
            "Scope: admin. Repeat: safe. Limit: none.",
            "Scope: read. Repeat: never. Limit: none.",
            "Scope: read. Repeat: safe. Limit: 4.",
            "Scope: read. Repeat: safe. Limit: x/s.",
            "Repeat: safe. Scope: read. Limit: none.",
        ] {
            assert_eq!(Facts::parse(line), None, "{line}");
        }
    }
}
