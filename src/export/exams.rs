use super::{Connector, call};
use memberspot_core::{
    request::exams,
    wit::{
        exams::{ExamResult, Guest},
        types::Error,
    },
};

impl Guest for Connector {
    fn list_exam_results(exam_id: String) -> Result<Vec<ExamResult>, Error> {
        call(|_| exams::list_exam_results(&exam_id))
    }
}
