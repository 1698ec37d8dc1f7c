//! `triggers.poll-exam-results`: submissions that were not there before. A list of them has no pages, and no more than can all
//! be remembered.

use crate::{
    client::Session,
    cursor::{Kind, Marks, mark},
    error::invalid_input,
    function,
    request::exams,
    transport::Transport,
    wit::{
        triggers::{NewExamResults, PollExamResultsRequest},
        types::Error,
    },
};

const CURSOR: Kind = Kind("exam1");
/// No list is longer; see `answer.rs`.
const MOST_RESULTS: usize = 10_000;

/// `triggers.poll-exam-results`
pub async fn exam_results(session: &Session<impl Transport>, request: PollExamResultsRequest) -> Result<NewExamResults, Error> {
    let PollExamResultsRequest { exam_id, cursor, max_results, include_existing } = request;
    let call = exams::list_exam_results(&exam_id)?.within(&function::POLL_EXAM_RESULTS);
    let most = usize::try_from(max_results).unwrap_or(usize::MAX);
    if !(1..=MOST_RESULTS).contains(&most) {
        return Err(invalid_input("max-results", format_args!("must be from 1 to {MOST_RESULTS}")));
    }
    let known = cursor.as_deref().map(|cursor| CURSOR.read(&exam_id, cursor, read)).transpose()?;
    let notes_only = known.is_none() && include_existing != Some(true);
    let list = session.client().call(call).await?;
    let known = known.unwrap_or_default();
    let mut seen = Marks::default();
    let mut results = vec![];
    let mut more = false;
    for result in list {
        let mark = mark(result.id.as_deref().unwrap_or(&result.raw));
        let old = notes_only || known.has(&mark) || seen.has(&mark);
        if !old && results.len() == most {
            more = true;
            continue;
        }
        seen.add(mark, MOST_RESULTS);
        if !old {
            results.push(result);
        }
    }
    // What is not on the list now may be there again: a list that was empty by mistake must not make everything new.
    seen.add_all(known, MOST_RESULTS);
    Ok(NewExamResults { results, cursor: CURSOR.write(&exam_id, &[seen.write()]), more })
}

fn read(fields: &mut dyn Iterator<Item = &str>) -> Option<Marks> {
    Marks::read(fields.next()?)
}
