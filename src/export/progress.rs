use super::{Connector, call};
use memberspot_core::{
    request::progress,
    wit::{
        progress::{CourseProgressPage, Guest, ListCourseProgressRequest, MemberCourseProgress},
        types::Error,
    },
};

impl Guest for Connector {
    fn list_course_progress(request: ListCourseProgressRequest) -> Result<CourseProgressPage, Error> {
        call(|_| progress::list_course_progress(&request))
    }

    fn get_course_progress(email: String, course_id: String) -> Result<MemberCourseProgress, Error> {
        call(|_| progress::get_course_progress(&email, &course_id))
    }
}
