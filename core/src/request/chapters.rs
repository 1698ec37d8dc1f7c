//! `chapters`: single chapters of a course.

use serde::Serialize;

use crate::{
    check, function,
    request::{Call, Request},
    route,
    wit::{chapters::ChapterAccessRequest, types::Error},
};

/// `chapters.enable-chapter-access`
pub fn enable_chapter_access(request: &ChapterAccessRequest) -> Result<Call<()>, Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<'a> {
        email: &'a str,
        course_id: &'a str,
        chapter_id: &'a str,
    }

    let body = Body {
        email: check::email("email", &request.email)?,
        course_id: check::id("course-id", &request.course_id)?,
        chapter_id: check::id("chapter-id", &request.chapter_id)?,
    };
    let request = Request::new(&route::CHAPTER_ACCESS, &function::ENABLE_CHAPTER_ACCESS, &[]).json(&body)?;
    Ok(Call::new(request, |answer| answer.acknowledgement().map(drop)))
}
