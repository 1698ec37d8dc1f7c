//! Course progress, chapters and exams.

use serde_json::{Value, json};

use super::super::clock::iso;
use super::super::form::Form;
use super::super::nest::{self, Answer, Refusal};
use super::super::school::Progress;
use super::pages::{Page, PageRequest};
use super::{Visit, user, user_not_found};

/// A member's progress in every course, paged by course id.
pub(super) fn list_progress(visit: &mut Visit<'_>) -> Result<Answer, Refusal> {
    let mut form = Form::query(visit.query);
    let page = PageRequest::take(&mut form);
    form.finish()?;

    let member = visit.school.member(visit.param(0));
    let all = &member.ok_or_else(user_not_found)?.progress;
    let dialect = visit.school.dialect;
    let after = page.after(dialect, all.keys().map(String::as_str))?;
    let wanted = all.iter().filter(|(course_id, _)| **course_id > after);
    let page = Page::fill(&page, wanted, |(course_id, _)| course_id.as_str());
    let entries: Vec<Value> = page.entries.iter().map(|(course_id, progress)| entry(course_id, progress)).collect();
    // How the real list is wrapped is not known.
    let mut answer = json!({"data": entries});
    page.link(&mut answer, dialect, all.keys().map(String::as_str));
    Ok(nest::json(&answer))
}

/// A member's progress in one course, with the member; 404 when there is none.
pub(super) fn progress(visit: &mut Visit<'_>) -> Result<Answer, Refusal> {
    let (course_id, email) = (visit.param(0), visit.param(1));
    visit.school.course(course_id).ok_or_else(course_not_found)?;
    let member = visit.school.member(email).ok_or_else(user_not_found)?;
    let progress = member.progress.get(course_id);
    let progress = progress.ok_or_else(|| Refusal::not_found("Course progress not found"))?;
    let mut answer = entry(course_id, progress);
    answer["user"] = user(member);
    Ok(nest::json(&answer))
}

/// Opens one chapter to a member.
pub(super) fn enable_chapter(visit: &mut Visit<'_>) -> Result<Answer, Refusal> {
    let mut form = Form::body(visit.body.take());
    let email = form.email("email");
    let course_id = form.text("courseId");
    let chapter_id = form.text("chapterId");
    form.finish()?;

    let course = visit.school.course(&course_id).ok_or_else(course_not_found)?;
    if !course.chapter_ids.contains(&chapter_id) {
        return Err(Refusal::not_found("Chapter not found"));
    }
    let member = visit.school.member_mut(&email).ok_or_else(user_not_found)?;
    member.chapters.insert((course_id, chapter_id));
    Ok(nest::empty())
}

/// What was handed in for an exam. The field names are the simulator's guess.
pub(super) fn exam_results(visit: &mut Visit<'_>) -> Result<Answer, Refusal> {
    let mut exams = visit.school.exams.iter();
    let exam = exams.find(|exam| exam.id == visit.param(0));
    let exam = exam.ok_or_else(|| Refusal::not_found("Exam not found"))?;
    let results: Vec<Value> = exam
        .results
        .iter()
        .map(|result| {
            let member = visit.school.member_by_uid(&result.uid);
            json!({
                "id": result.id,
                "examId": exam.id,
                "uid": result.uid,
                "email": member.map(|member| member.email()),
                "score": result.score,
                "maxScore": result.max_score,
                "passed": result.passed,
                "submitted": iso(result.submitted),
            })
        })
        .collect();
    Ok(nest::json(&results.into()))
}

/// Progress as the API shows it.
pub(super) fn entry(course_id: &str, progress: &Progress) -> Value {
    json!({
        "courseId": course_id,
        "activePosts": progress.active_posts,
        "completedPosts": progress.completed_posts,
    })
}

fn course_not_found() -> Refusal {
    Refusal::not_found("Course not found")
}
