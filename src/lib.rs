mod bindings {
    wit_bindgen::generate!({ path: "wit", world: "connector", additional_derives: [Clone, PartialEq] });
}
use bindings::exports::memberspot::connector as wit;
use wit::types::*;
struct C;
fn no<T>() -> Result<T, Error> {
    let v = wasi::cli::environment::get_environment();
    Err(Error::Permanent(Failure { code: FailureCode::NotConfigured, message: format!("{} vars", v.len()), status: None, retry_after_ms: None, outcome_unknown: false, attempts: 0, details: vec![] }))
}
impl wit::connection::Guest for C { fn check_connection() -> Result<wit::connection::ConnectionInfo, Error> { Ok(wit::connection::ConnectionInfo { base_url: "x".into(), scopes: vec![Scope::Read], version: "0".into() }) } }
impl wit::access::Guest for C {
    fn grant_access(_: wit::access::GrantRequest) -> Result<User, Error> { no() }
    fn revoke_access(_: String, _: String) -> Result<wit::access::AccessState, Error> { no() }
    fn restore_access(_: String, _: String) -> Result<wit::access::AccessState, Error> { no() }
    fn delete_access(_: String, _: String) -> Result<wit::access::AccessState, Error> { no() }
    fn set_access_expiration(_: wit::access::ExpirationRequest) -> Result<(), Error> { no() }
}
impl wit::orders::Guest for C {
    fn revoke_order_access(_: String, _: String) -> Result<wit::orders::OrderState, Error> { no() }
    fn restore_order_access(_: String, _: String) -> Result<wit::orders::OrderState, Error> { no() }
    fn delete_order_access(_: wit::orders::OrderDeletionRequest) -> Result<wit::orders::OrderState, Error> { no() }
}
impl wit::users::Guest for C {
    fn list_users(_: wit::users::ListUsersRequest) -> Result<wit::users::UserPage, Error> { no() }
    fn find_user(_: String) -> Result<Option<User>, Error> { Ok(None) }
    fn delete_users(_: Vec<String>) -> Result<(), Error> { no() }
    fn delete_users_via_post(_: Vec<String>) -> Result<(), Error> { no() }
    fn create_login_token(_: String) -> Result<wit::users::LoginToken, Error> { no() }
}
impl wit::properties::Guest for C {
    fn list_properties() -> Result<Vec<wit::properties::Property>, Error> { no() }
    fn set_properties(_: wit::properties::SetPropertiesRequest) -> Result<(), Error> { no() }
}
impl wit::offers::Guest for C { fn list_offers() -> Result<Vec<wit::offers::Offer>, Error> { no() } }
impl wit::progress::Guest for C {
    fn list_course_progress(_: wit::progress::ListCourseProgressRequest) -> Result<wit::progress::CourseProgressPage, Error> { no() }
    fn get_course_progress(_: String, _: String) -> Result<wit::progress::MemberCourseProgress, Error> { no() }
}
impl wit::chapters::Guest for C { fn enable_chapter_access(_: wit::chapters::ChapterAccessRequest) -> Result<(), Error> { no() } }
impl wit::exams::Guest for C { fn list_exam_results(_: String) -> Result<Vec<wit::exams::ExamResult>, Error> { no() } }
impl wit::api::Guest for C { fn call_api(_: wit::api::ApiRequest) -> Result<wit::api::ApiResponse, Error> { no() } }
bindings::export!(C with_types_in bindings);
