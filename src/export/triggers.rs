use super::{Connector, begin};
use memberspot_core::{
    poll, webhook,
    wit::{
        triggers::{
            CourseCompletions, Guest, NewExamResults, NewUsers, PollCourseCompletionsRequest, PollExamResultsRequest,
            PollNewUsersRequest, WebhookEvent,
        },
        types::Error,
    },
};

impl Guest for Connector {
    fn parse_webhook(body: String) -> Result<WebhookEvent, Error> {
        webhook::parse(&body)
    }

    fn poll_new_users(request: PollNewUsersRequest) -> Result<NewUsers, Error> {
        let session = begin()?;
        session.transport().block_on(poll::new_users(&session, request))
    }

    fn poll_exam_results(request: PollExamResultsRequest) -> Result<NewExamResults, Error> {
        let session = begin()?;
        session.transport().block_on(poll::exam_results(&session, request))
    }

    fn poll_course_completions(request: PollCourseCompletionsRequest) -> Result<CourseCompletions, Error> {
        let session = begin()?;
        session.transport().block_on(poll::course_completions(&session, request))
    }
}
