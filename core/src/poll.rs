//! `triggers`: what is new since the poll before. Cursors come in and go out; nothing is kept here.

mod course_completions;
mod exam_results;
mod new_users;
#[cfg(test)]
mod tests;

pub use course_completions::course_completions;
pub use exam_results::exam_results;
pub use new_users::new_users;
