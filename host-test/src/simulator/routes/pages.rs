//! Paging with `lastLoadedId`, `pageLength` and `nextPage`.

use serde_json::Value;

use super::super::form::Form;
use super::super::nest::Refusal;
use super::super::school::{Dialect, PageField, PageToken};

/// The length of a page when nobody asks for another (documented).
const DEFAULT_LENGTH: usize = 10;

/// The longest page. The real server's limit is not known.
const MOST_LENGTH: usize = 100;

/// Which page is wanted.
pub(super) struct PageRequest {
    last_loaded_id: Option<String>,
    length: usize,
}

/// The entries of a page, and whether another follows.
pub(super) struct Page<T> {
    pub(super) entries: Vec<T>,
    /// The id of the last entry, when it is not the last of all.
    last_id: Option<String>,
}

impl PageRequest {
    /// Takes the paging parameters out of a query.
    pub(super) fn take(form: &mut Form) -> Self {
        let length = form.number_up_to("pageLength", MOST_LENGTH);
        Self { last_loaded_id: form.query_text("lastLoadedId"), length: length.unwrap_or(DEFAULT_LENGTH) }
    }

    /// The id after which the page begins, given all ids of the unfiltered list in order.
    ///
    /// An id that is not in the list is fine: it marks the place where it would be, so that walking the pages goes on
    /// when the last loaded member is deleted meanwhile.
    pub(super) fn after<'i>(&self, dialect: Dialect, ids: impl Iterator<Item = &'i str>) -> Result<String, Refusal> {
        let Some(token) = &self.last_loaded_id else {
            return Ok(String::new());
        };
        match dialect.page_token {
            PageToken::Id => Ok(token.clone()),
            PageToken::Number => {
                let passed: usize = token.parse().map_err(|_| Refusal::bad_request("lastLoadedId must be a number"))?;
                Ok(ids.take(passed).last().unwrap_or_default().to_owned())
            }
        }
    }
}

impl<T> Page<T> {
    /// Takes the entries of a page from what comes after the last loaded one.
    pub(super) fn fill<'i>(request: &PageRequest, mut entries: impl Iterator<Item = T>, id: impl Fn(&T) -> &'i str) -> Self {
        let page: Vec<T> = entries.by_ref().take(request.length).collect();
        let more = entries.next().is_some();
        let last = page.last().filter(|_| more);
        Self { last_id: last.map(|last| id(last).to_owned()), entries: page }
    }

    /// Adds the token of the next page to an answer, if there is a next page.
    pub(super) fn link<'i>(&self, answer: &mut Value, dialect: Dialect, mut ids: impl Iterator<Item = &'i str>) {
        let Some(last_id) = &self.last_id else {
            return;
        };
        let field = match dialect.page_field {
            PageField::NextPage => "nextPage",
            PageField::SnakeCase => "next_page",
        };
        answer[field] = match dialect.page_token {
            PageToken::Id => last_id.as_str().into(),
            PageToken::Number => ids.position(|id| id == last_id).map(|nth| nth + 1).into(),
        };
    }
}
