//! What an agent is told of each tool: the comment of the function, its facts in words, and what the fields mean.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use memberspot_comments::{self as comments, Facts, on_one_line, resolved};
use wit_parser::{Function, InterfaceId, Param, Resolve, SourceMap, Type, TypeDefKind, WorldItem};

use crate::Error;

/// The descriptions that the WIT gives.
pub struct Descriptions {
    /// What all of it is.
    pub all: String,
    /// That of each function, by its name.
    pub of: BTreeMap<String, String>,
}

impl Descriptions {
    pub fn read(wit: &[(&str, &str)]) -> Result<Self, Error> {
        let error = |error: &dyn fmt::Display| Error::Wit(format!("{error:#}"));
        let mut sources = SourceMap::new();
        for (name, content) in wit {
            sources.push_str(name, *content);
        }
        let mut resolve = Resolve::new();
        let group = sources.parse().map_err(|(_, problem)| error(&problem))?;
        let package = resolve.push_group(group).map_err(|problem| error(&problem))?;
        let world = resolve.select_world(&[package], None).map_err(|problem| error(&problem))?;

        let mut of = BTreeMap::new();
        let mut old_names = vec![];
        for item in resolve.worlds[world].exports.values() {
            let WorldItem::Interface { id: interface, .. } = *item else { continue };
            let prefix = resolve.interfaces[interface].name.as_deref().unwrap_or_default();
            for (name, function) in &resolve.interfaces[interface].functions {
                of.insert(name.clone(), Reader { resolve: &resolve, interface }.description(function)?);
                old_names.push((format!("`{prefix}.{name}`"), format!("`{name}`")));
            }
        }
        // Comments name functions together with their interfaces, which tools have no longer. A case that is commented by the
        // name of a function has that name, too.
        for text in of.values_mut() {
            for (old, new) in &old_names {
                *text = text.replace(&format!("{new}: {old}"), new).replace(old, new);
            }
        }
        let about = resolve.packages[package].docs.contents.as_deref().unwrap_or_default();
        Ok(Self { all: about.split("\n\n").next().unwrap_or_default().to_owned(), of })
    }
}

struct Reader<'a> {
    resolve: &'a Resolve,
    interface: InterfaceId,
}

impl Reader<'_> {
    fn description(&self, function: &Function) -> Result<String, Error> {
        let (docs, facts) = comments::function(function)
            .map_err(|line| Error::Wit(format!("the comment of {} ends in {line:?}, not in its facts", function.name)))?;
        let mut text = format!("{docs}\n\n{}\n", in_words(&facts));
        // A text takes whatever is written into it.
        let _ = self.input(&mut text, function);
        text.push_str(OUTCOME);
        Ok(text)
    }

    fn input(&self, text: &mut String, function: &Function) -> fmt::Result {
        if function.params.is_empty() {
            return Ok(());
        }
        writeln!(text, "\nInput, where everything is required, and what may be absent takes null:")?;
        for parameter in &function.params {
            let docs = self.parameter(function, parameter);
            self.item(text, 0, &parameter.name, Some(parameter.ty), &docs)?;
        }
        Ok(())
    }

    /// What a parameter is; of a record, what that is.
    fn parameter(&self, function: &Function, parameter: &Param) -> String {
        if let Type::Id(id) = parameter.ty {
            let ty = &self.resolve.types[resolved(self.resolve, id)];
            if let TypeDefKind::Record(_) = ty.kind {
                return on_one_line(&ty.docs);
            }
        }
        comments::parameter(self.resolve, self.interface, function, &parameter.name)
    }

    /// A line for a field, a case or a parameter, and below it those for what it is made of.
    fn item(&self, text: &mut String, depth: usize, name: &str, ty: Option<Type>, docs: &str) -> fmt::Result {
        let (ty, optional) = ty.map_or((None, false), |ty| self.inside(ty));
        let optional = if optional { " (or null)" } else { "" };
        let docs = if docs.is_empty() { String::new() } else { format!(": {docs}") };
        let choice = matches!(ty, Some(TypeDefKind::Variant(_) | TypeDefKind::Enum(_)));
        let choice = if choice { " One of:" } else { "" };
        writeln!(text, "{:1$}- `{name}`{optional}{docs}{choice}", "", depth * 2)?;
        let depth = depth + 1;
        match ty {
            Some(TypeDefKind::Record(it)) => {
                it.fields.iter().try_for_each(|it| self.item(text, depth, &it.name, Some(it.ty), &on_one_line(&it.docs)))
            }
            Some(TypeDefKind::Variant(it)) => {
                it.cases.iter().try_for_each(|it| self.item(text, depth, &it.name, it.ty, &on_one_line(&it.docs)))
            }
            Some(TypeDefKind::Enum(it)) => {
                it.cases.iter().try_for_each(|it| self.item(text, depth, &it.name, None, &on_one_line(&it.docs)))
            }
            _ => Ok(()),
        }
    }

    /// What has a name in a type: that of the elements of a list, or of what may be absent; and whether it may be.
    fn inside(&self, ty: Type) -> (Option<&TypeDefKind>, bool) {
        let Type::Id(id) = ty else { return (None, false) };
        match &self.resolve.types[resolved(self.resolve, id)].kind {
            TypeDefKind::Option(ty) => (self.inside(*ty).0, true),
            TypeDefKind::List(ty) => self.inside(*ty),
            kind => (Some(kind), false),
        }
    }
}

/// Hosts hand an error to the agent as the result of a call that went well.
const OUTCOME: &str = "\nThe result is `ok`, or `err` with the tag `transient` (the same call may succeed later, and repeating it \
                       is safe) or `permanent` (it would fail again, or repeating it is not safe), and the reason in `val`.";

fn in_words(facts: &Facts) -> String {
    let scope = match facts.scope.as_str() {
        "none" => "Needs no scope.".to_owned(),
        "by-operation" => "Needs the scopes of its operations.".to_owned(),
        "by-module" => "Needs the scope of its module.".to_owned(),
        scope => format!("Needs the scope `{scope}`."),
    };
    let repeat = match facts.repeat.as_str() {
        "safe" => "The same call may be made twice without further effect.",
        _ => "Whether the same call may be made twice depends on the method.",
    };
    let limit = facts.per_second().map(|count| format!(" Memberspot allows {count} such requests a second."));
    format!("{scope} {repeat}{}", limit.unwrap_or_default())
}
