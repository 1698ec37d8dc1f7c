use super::{Connector, begin, call};
use memberspot_core::{
    collect,
    request::progress,
    wit::{
        progress::{
            CollectCourseProgressRequest, CollectedCourseProgress, CourseProgressPage, Guest, ListCourseProgressRequest,
            MemberCourseProgress,
        },
        types::Error,
    },
};

impl Guest for Connector {
    fn list_course_progress(request: ListCourseProgressRequest) -> Result<CourseProgressPage, Error> {
        call(|_| progress::list_course_progress(&request))
    }

    fn collect_course_progress(request: CollectCourseProgressRequest) -> Result<CollectedCourseProgress, Error> {
        let session = begin()?;
        session.transport().block_on(collect::course_progress(&session, request))
    }

    fn get_course_progress(email: String, course_id: String) -> Result<MemberCourseProgress, Error> {
        call(|_| progress::get_course_progress(&email, &course_id))
    }
}
