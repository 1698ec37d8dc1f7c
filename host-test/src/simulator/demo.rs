//! Schools to start with: a small one with people and stories, and big ones for volume. Nobody in them is real.

use serde_json::{Map, Value, json};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use super::school::{Course, Exam, ExamResult, Grant, Member, Offer, Progress, Property, School};

/// When the demo school was founded; everything in it is dated from here.
const FOUNDED: OffsetDateTime = datetime!(2025-03-01 09:00 UTC);

/// The demo school's people: name for the uid, first name, last name, domain.
const PEOPLE: [(&str, &str, &str, &str); 12] = [
    ("anna", "Anna", "Albrecht", "example.com"),
    ("ben", "Ben", "Bauer", "example.com"),
    ("clara", "Clara", "Conrad", "example.org"),
    ("david", "David", "Dietrich", "example.com"),
    ("elif", "Elif", "Erdem", "example.org"),
    ("finn", "Finn", "Fischer", "example.com"),
    ("greta", "Greta", "Graf", "example.org"),
    ("hugo", "Hugo", "Hartmann", "example.com"),
    ("ines", "Inês", "Iglesias", "example.org"),
    ("jonas", "Jonas", "Jäger", "example.com"),
    ("kira", "Kira", "Köhler", "example.org"),
    ("luis", "Luis", "Lorenz", "example.com"),
];

/// Person, offer, order, active, day of the expiry after [`FOUNDED`], posts done in each course of the offer.
type Handout = (&'static str, &'static str, Option<&'static str>, bool, Option<i64>, u32);

/// Who was granted what.
const GRANTS: [Handout; 14] = [
    ("anna", "offer-yoga-basic", Some("order-1001"), true, None, 6),
    ("anna", "offer-breath", Some("order-1001"), true, None, 2),
    ("ben", "offer-yoga-basic", Some("order-1002"), true, None, 8),
    ("clara", "offer-yoga-pro", Some("order-1003"), true, None, 3),
    ("david", "offer-yoga-basic", Some("order-1004"), false, None, 5),
    ("elif", "offer-breath", None, true, Some(10_000), 1),
    ("finn", "offer-yoga-basic", Some("order-1005"), true, Some(30), 4),
    ("greta", "offer-yoga-pro", Some("order-1006"), true, None, 10),
    ("greta", "offer-teacher", Some("order-1006"), true, None, 7),
    ("hugo", "offer-breath", Some("order-1007"), true, None, 0),
    ("ines", "offer-yoga-basic", None, true, None, 1),
    ("jonas", "offer-teacher", Some("order-1008"), true, None, 12),
    ("kira", "offer-yoga-pro", Some("order-1009"), false, None, 2),
    ("kira", "offer-breath", Some("order-1009"), false, None, 2),
];

impl School {
    /// The example school, which opens with the key `demo-key`.
    ///
    /// Twelve members (`uid-anna`, anna@example.com, …), four offers (`offer-yoga-basic`, `offer-yoga-pro`,
    /// `offer-breath`, `offer-teacher`), five courses, four custom properties, two exams, and the orders `order-1001` to
    /// `order-1009`, of which 1001, 1006 and 1009 granted two offers each. luis@example.com owns nothing; hugo's account
    /// is not active; david's and kira's access is revoked; finn's has expired.
    #[must_use]
    pub fn demo() -> Self {
        let mut school = Self::new("school-demo", "demo-key");
        school.name = "Demo".into();
        school.courses = demo_courses();
        school.offers = demo_offers();
        school.properties = demo_properties();
        for (nth, (short, first, last, domain)) in (0..).zip(PEOPLE) {
            let created = FOUNDED + Duration::days(nth);
            let mut member = Member::new(format!("uid-{short}"), format!("{short}@{domain}"), created);
            member.firstname = Some(first.into());
            member.name = Some(last.into());
            member.active = short != "hugo";
            school.insert(member);
        }
        for handout in GRANTS {
            school.hand_out(handout);
        }
        if let Some(anna) = school.member_mut("anna@example.com") {
            anna.properties = properties(json!({"prop-level": "beginner", "prop-newsletter": true}));
            anna.chapters.insert(("course-breathing".into(), "chapter-breathing-2".into()));
        }
        if let Some(clara) = school.member_mut("clara@example.org") {
            clara.properties = properties(json!({"prop-age": 41, "prop-birthday": "1984-06-02"}));
        }
        school.exams = demo_exams();
        school
    }

    /// A school with `count` members that opens with the key `demo-key`.
    ///
    /// Member *n* (from 1) has the uid `uid-` and *n* in eight digits, and the address `member-n@example.org`. Every
    /// second one holds the only offer, `offer-all`, whose course is `course-all`; every tenth is not active.
    #[must_use]
    pub fn with_members(count: u32) -> Self {
        let mut school = Self::new("school-big", "demo-key");
        school.name = format!("Big ({count})");
        school.courses = vec![course("course-all", "Everything", 2, 20)];
        school.offers = vec![offer("offer-all", "Everything", &["course-all"], None)];
        for nth in 1..=count {
            let created = FOUNDED + Duration::minutes(i64::from(nth));
            let mut member = Member::new(format!("uid-{nth:08}"), format!("member-{nth}@example.org"), created);
            member.firstname = Some(format!("Member {nth}"));
            member.active = nth % 10 != 0;
            if nth % 2 == 0 {
                let grant = Grant { active: true, order_id: Some(format!("order-{nth}")), expires_at: None };
                member.grants.insert("offer-all".into(), grant);
                let progress = Progress { active_posts: 20, completed_posts: nth % 21 };
                member.progress.insert("course-all".into(), progress);
            }
            school.insert(member);
        }
        school
    }

    fn hand_out(&mut self, (short, offer_id, order, active, expires_after, done): Handout) {
        let uid = format!("uid-{short}");
        let Some(mut member) = self.member_by_uid(&uid).cloned() else {
            return;
        };
        let course_ids = self.offer(offer_id).map(|offer| offer.course_ids.clone());
        for course in course_ids.iter().flatten().filter_map(|id| self.course(id)) {
            let progress = Progress { active_posts: course.posts, completed_posts: done.min(course.posts) };
            member.progress.insert(course.id.clone(), progress);
        }
        let grant = Grant {
            active,
            order_id: order.map(str::to_owned),
            expires_at: expires_after.map(|days| FOUNDED + Duration::days(days)),
        };
        member.grants.insert(offer_id.to_owned(), grant);
        self.insert(member);
    }
}

fn demo_courses() -> Vec<Course> {
    vec![
        course("course-sun-salutation", "Sun salutation", 3, 9),
        course("course-standing-poses", "Standing poses", 2, 8),
        course("course-inversions", "Inversions", 2, 10),
        course("course-breathing", "Breathing", 3, 6),
        course("course-teaching", "Teaching", 4, 16),
    ]
}

fn demo_offers() -> Vec<Offer> {
    let basic = ["course-sun-salutation", "course-standing-poses"];
    let pro = ["course-standing-poses", "course-inversions"];
    vec![
        offer("offer-yoga-basic", "Yoga Basic", &basic, Some(1)),
        offer("offer-yoga-pro", "Yoga Pro", &pro, Some(2)),
        offer("offer-breath", "Breath Work", &["course-breathing"], None),
        offer("offer-teacher", "Teacher Training", &["course-teaching"], Some(3)),
    ]
}

fn demo_properties() -> Vec<Property> {
    [
        ("prop-level", "Level", "text"),
        ("prop-age", "Age", "number"),
        ("prop-newsletter", "Newsletter", "boolean"),
        ("prop-birthday", "Birthday", "date"),
    ]
    .map(|(id, name, kind)| Property { id: id.into(), name: name.into(), kind: kind.into() })
    .into()
}

fn demo_exams() -> Vec<Exam> {
    let result = |nth: i64, short: &str, score: f64| ExamResult {
        id: format!("submission-{nth}"),
        uid: format!("uid-{short}"),
        score,
        max_score: 20.0,
        passed: score >= 12.0,
        submitted: FOUNDED + Duration::days(60 + nth),
    };
    let basics = vec![result(1, "anna", 18.0), result(2, "ben", 11.5), result(3, "ben", 15.0)];
    let teacher = vec![result(4, "greta", 19.0), result(5, "jonas", 9.0)];
    [("exam-basics", "Basics", basics), ("exam-teacher", "Teacher", teacher)]
        .map(|(id, name, results)| Exam { id: id.into(), name: name.into(), results })
        .into()
}

/// A course whose chapters are named after it: `course-x` has `chapter-x-1`, `chapter-x-2`, …
fn course(id: &str, name: &str, chapters: u32, posts: u32) -> Course {
    let stem = id.strip_prefix("course-").unwrap_or(id);
    Course {
        id: id.into(),
        name: name.into(),
        chapter_ids: (1..=chapters).map(|nth| format!("chapter-{stem}-{nth}")).collect(),
        posts,
    }
}

fn offer(id: &str, name: &str, course_ids: &[&str], priority: Option<i64>) -> Offer {
    Offer {
        id: id.into(),
        name: name.into(),
        course_ids: course_ids.iter().map(|&id| id.to_owned()).collect(),
        priority,
        updated: priority.map(|days| FOUNDED + Duration::days(days)),
    }
}

fn properties(values: Value) -> Map<String, Value> {
    match values {
        Value::Object(values) => values,
        _ => Map::new(),
    }
}
