//! What is not certain about the API, and how an answer settles it.
//!
//! Where two forms of a request are thinkable, the likelier one is sent first; a refusal that asks for the other one is
//! answered with it. What was found out holds for the rest of the call.

use std::cell::Cell;

use crate::wit::types::Failure;

/// Something that is not certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Whether the field that holds a property's id is called `id` or `propertyId`.
    PropertyId,
    /// Whether a DELETE with a body arrives, or POST must be used.
    BodyOfDelete,
}

impl Doubt {
    /// Whether a refusal of the likelier form asks for the other one.
    pub fn is_raised_by(self, failure: &Failure) -> bool {
        let names = |word| failure.details.iter().any(|detail| detail.contains(word));
        match (self, failure.status) {
            (Self::PropertyId, Some(400)) => names("propertyId"),
            // The method is not wanted, or the body was dropped on the way and is missed.
            (Self::BodyOfDelete, Some(405 | 411)) => true,
            // The list that was in the body is missed; it was checked before it was sent.
            (Self::BodyOfDelete, Some(400)) => failure.details.is_empty() || names("emails"),
            _ => false,
        }
    }
}

/// Whether both forms were refused in the same words: then neither was at fault. Another refusal of the other form says
/// nothing of its form, which may well have been the right one.
pub fn is_same_refusal(one: &Failure, other: &Failure) -> bool {
    (one.status, &one.details) == (other.status, &other.details)
}

/// A form of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The one that is sent first.
    Likely,
    /// The other one.
    Other,
}

/// What was found out.
#[derive(Debug, Default)]
pub struct Findings {
    property_id: Cell<Option<Form>>,
    body_of_delete: Cell<Option<Form>>,
}

impl Findings {
    /// The form that Memberspot takes, once that is known.
    pub fn form(&self, doubt: Doubt) -> Option<Form> {
        self.place(doubt).get()
    }

    /// Remembers that Memberspot took a form.
    pub fn took(&self, doubt: Doubt, form: Form) {
        self.place(doubt).set(Some(form));
    }

    fn place(&self, doubt: Doubt) -> &Cell<Option<Form>> {
        match doubt {
            Doubt::PropertyId => &self.property_id,
            Doubt::BodyOfDelete => &self.body_of_delete,
        }
    }
}
