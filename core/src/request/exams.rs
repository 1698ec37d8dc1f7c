//! `exams`: results of exams.

use crate::{
    check, entity, function,
    request::{Call, Request},
    route,
    wit::{exams::ExamResult, types::Error},
};

/// `exams.list-exam-results`
pub fn list_exam_results(exam_id: &str) -> Result<Call<Vec<ExamResult>>, Error> {
    let segments = [check::id_segment("exam-id", exam_id)?];
    let request = Request::new(&route::EXAM_RESULTS, &function::LIST_EXAM_RESULTS, &segments);
    Ok(Call::new(request, |answer| Ok(answer.list("a list of exam results", entity::exam_result)?.items)))
}
