//! Modules as tools.

use crate::{
    bindings::{
        act::{
            core::types::LocalizedString,
            tools::types::{ContentPart, ToolDefinition},
        },
        memberspot::connector::modules::Module,
    },
    cbor,
};

/// The name of a tool: what follows the interface in `access.grant-access`. It is unique over all interfaces.
pub fn name(module: &Module) -> &str {
    module.id.split_once('.').map_or(&module.id, |(_, name)| name)
}

/// A module as a tool.
pub fn definition(module: Module) -> ToolDefinition {
    let name = name(&module).to_owned();
    let hints = [
        ("std:read-only", module.hints.read_only),
        ("std:destructive", module.hints.destructive),
        ("std:idempotent", module.hints.idempotent),
    ];
    ToolDefinition {
        name,
        description: LocalizedString::Plain(module.description),
        parameters_schema: module.input_schema,
        metadata: hints.map(|(name, hint)| (name.to_owned(), cbor::flag(hint))).into(),
    }
}

/// A result, which is JSON.
pub fn content(json: String) -> ContentPart {
    ContentPart { data: json.into_bytes(), mime_type: Some("application/json".to_owned()), metadata: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memberspot_core::modules::list_modules;
    use std::collections::BTreeSet;

    /// What the import says of a module, of which the core has the same from the other side.
    fn modules() -> Vec<Module> {
        use crate::bindings::memberspot::connector::modules::{ModuleHints, ModuleKind};
        let import = |it: memberspot_core::wit::modules::Module| Module {
            id: it.id,
            title: it.title,
            description: it.description,
            kind: ModuleKind::Action,
            needs: it.needs,
            hints: ModuleHints {
                read_only: it.hints.read_only,
                destructive: it.hints.destructive,
                idempotent: it.hints.idempotent,
                requests_per_second: it.hints.requests_per_second,
            },
            input_schema: it.input_schema,
            output_schema: it.output_schema,
        };
        list_modules().into_iter().map(import).collect()
    }

    #[test]
    fn names_are_short_and_unique() {
        let modules = modules();
        let names: BTreeSet<_> = modules.iter().map(name).collect();
        assert_eq!(names.len(), modules.len());
        assert!(names.contains("grant-access"));
        assert!(names.iter().all(|it| it.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')));
    }

    #[test]
    fn a_tool_says_what_its_module_says() {
        let tools: Vec<_> = modules().into_iter().map(definition).collect();
        let hints = |name: &str| {
            let tool = tools.iter().find(|it| it.name == name).unwrap();
            tool.metadata.iter().map(|(name, hint)| (name.as_str(), hint[0] == 0xf5)).collect::<Vec<_>>()
        };
        assert_eq!(hints("list-offers"), [("std:read-only", true), ("std:destructive", false), ("std:idempotent", true)]);
        assert_eq!(hints("delete-users"), [("std:read-only", false), ("std:destructive", true), ("std:idempotent", true)]);
        for tool in tools {
            let schema: serde_json::Value = serde_json::from_str(&tool.parameters_schema).unwrap();
            assert_eq!(schema["type"], "object", "{}", tool.name);
            assert!(matches!(tool.description, LocalizedString::Plain(text) if !text.is_empty()));
        }
    }
}
