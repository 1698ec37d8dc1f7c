//! The set of scopes that an operator gives to an instance.

use crate::wit::types::Scope;

/// All scopes, in the order in which they are listed, with the names used in `MEMBERSPOT_SCOPES`.
pub const NAMES: [(Scope, &str); 5] =
    [(Scope::Read, "read"), (Scope::Write, "write"), (Scope::Delete, "delete"), (Scope::Login, "login"), (Scope::Raw, "raw")];

/// The name of a scope, as written in `MEMBERSPOT_SCOPES`.
pub fn name(scope: Scope) -> &'static str {
    NAMES.iter().find(|(known, _)| *known == scope).map_or("", |(_, name)| name)
}

/// A set of scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// Every scope there is.
    pub fn all() -> Self {
        NAMES.iter().fold(Self::default(), |set, (scope, _)| set.with(*scope))
    }

    /// No scope.
    pub const fn none() -> Self {
        Self(0)
    }

    /// This set and one scope more.
    #[must_use]
    pub const fn with(self, scope: Scope) -> Self {
        Self(self.0 | bit(scope))
    }

    /// The scopes of both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the scope is in the set.
    pub fn contains(self, scope: Scope) -> bool {
        self.0 & bit(scope) != 0
    }

    /// The scopes of the set, in the order of [`NAMES`].
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        NAMES.into_iter().map(|(scope, _)| scope).filter(move |scope| self.contains(*scope))
    }

    /// Reads a list such as `read,write`. Spaces around a name are forgiven.
    ///
    /// # Errors
    /// The name that is not a scope; empty when the list has an empty entry or none at all.
    pub fn parse(list: &str) -> Result<Self, &str> {
        list.split(',').map(str::trim).try_fold(Self::default(), |set, entry| {
            let known = NAMES.iter().find(|(_, name)| *name == entry);
            known.map(|(scope, _)| set.with(*scope)).ok_or(entry)
        })
    }
}

const fn bit(scope: Scope) -> u8 {
    1 << (scope as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read() {
        assert_eq!(Scopes::parse("read"), Ok(Scopes::default().with(Scope::Read)));
        assert_eq!(Scopes::parse(" raw , login,raw"), Ok(Scopes::default().with(Scope::Login).with(Scope::Raw)));
        assert_eq!(Scopes::parse("read,write,delete,login,raw"), Ok(Scopes::all()));
    }

    #[test]
    fn what_is_not_a_scope_is_named() {
        assert_eq!(Scopes::parse("read,admin"), Err("admin"));
        assert_eq!(Scopes::parse("Read"), Err("Read"));
        assert_eq!(Scopes::parse(""), Err(""));
        assert_eq!(Scopes::parse("read,"), Err(""));
    }

    #[test]
    fn a_set_holds_what_was_put_in() {
        let set = Scopes::default().with(Scope::Delete);
        assert!(set.contains(Scope::Delete));
        assert!(!set.contains(Scope::Write));
        assert_eq!(set.iter().collect::<Vec<_>>(), [Scope::Delete]);
        assert_eq!(Scopes::all().iter().count(), NAMES.len());
    }
}
