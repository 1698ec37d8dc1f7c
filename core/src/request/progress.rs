//! `progress`: how far members have come.

use crate::{
    check, entity,
    error::invalid_input,
    function,
    request::{Call, Request},
    route,
    wit::{
        progress::{CourseProgressPage, ListCourseProgressRequest, MemberCourseProgress},
        types::Error,
    },
};

/// `progress.list-course-progress`
pub fn list_course_progress(request: &ListCourseProgressRequest) -> Result<Call<CourseProgressPage>, Error> {
    let email = check::email_segment("email", &request.email)?;
    let page_length = check::page_length("page-length", request.page_length)?.map(|length| length.to_string());
    let query = [
        ("lastLoadedId", check::page_token("page-token", request.page_token.as_deref())?),
        ("pageLength", page_length.as_deref()),
    ];
    let request = Request::new(&route::LIST_COURSE_PROGRESS, &function::LIST_COURSE_PROGRESS, &[email]).query(&query);
    Ok(Call::new(request, |answer| {
        let page = answer.list("a page of course progress", entity::progress)?;
        Ok(CourseProgressPage { entries: page.items, next_page: page.next })
    }))
}

/// `progress.get-course-progress`
pub fn get_course_progress(email: &str, course_id: &str) -> Result<Call<MemberCourseProgress>, Error> {
    let segments = [check::id_segment("course-id", course_id)?, check::email_segment("email", email)?];
    if course_id.eq_ignore_ascii_case("list") {
        // Memberspot's route for all courses has this word in the place of the course.
        return Err(invalid_input("course-id", "must not be the word list; pass a course's id"));
    }
    let course_id = course_id.to_owned();
    let request = Request::new(&route::COURSE_PROGRESS, &function::GET_COURSE_PROGRESS, &segments);
    Ok(Call::new(request, move |answer| {
        answer.entity("progress in one course", "progress", |object| entity::member_progress(object, &course_id))
    }))
}
