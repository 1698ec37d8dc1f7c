//! Memberspot's entities, from the JSON they are sent as. What identifies an entity must be there; all else may be missing.

use crate::{
    json::{Json, Object},
    wit::{
        exams::ExamResult,
        offers::Offer,
        progress::MemberCourseProgress,
        properties::Property,
        types::{CourseProgress, PropertyValue, User},
    },
};

/// A member.
pub fn user(object: &Object<'_>) -> Option<User> {
    Some(User {
        uid: object.text(&["uid"])?,
        email: object.text(&["email"])?,
        first_name: object.text(&["firstname", "firstName"]),
        last_name: object.text(&["name", "lastName", "lastname"]),
        active: object.get(&["active"]).and_then(Json::flag),
        created: object.text(&["created", "createdAt"]),
        custom_properties: object.get(&["customUserProperties"]).map(property_values).unwrap_or_default(),
        progress: items(object.get(&["progress"])).filter_map(|item| progress(&item.object()?)).collect(),
        raw: object.raw().to_owned(),
    })
}

/// The items of a list within an entity; `raw` has what is beyond any sensible number of them.
fn items(list: Option<Json<'_>>) -> impl Iterator<Item = Json<'_>> {
    const MOST_ITEMS: usize = 10_000;
    list.and_then(Json::list).unwrap_or_default().into_iter().take(MOST_ITEMS)
}

/// Values of custom properties: an object of id and value, or a list of objects that hold both.
fn property_values(json: Json<'_>) -> Vec<PropertyValue> {
    let value = |json: Json<'_>| json.text().unwrap_or_else(|| json.raw().to_owned());
    if let Some(object) = json.object() {
        let set = object.members().filter(|(_, json)| !json.is_null());
        return set.map(|(property, json)| PropertyValue { property: property.to_owned(), value: value(json) }).collect();
    }
    let entry = |json: Json<'_>| {
        let object = json.object()?;
        Some(PropertyValue { property: object.text(&["id", "propertyId"])?, value: value(object.get(&["value"])?) })
    };
    items(Some(json)).filter_map(entry).collect()
}

/// Progress in one course.
pub fn progress(object: &Object<'_>) -> Option<CourseProgress> {
    Some(progress_in(object.text(&["courseId"])?, object))
}

fn progress_in(course_id: String, object: &Object<'_>) -> CourseProgress {
    CourseProgress {
        course_id,
        active_posts: object.get(&["activePosts"]).and_then(Json::whole),
        completed_posts: object.get(&["completedPosts"]).and_then(Json::whole),
        raw: object.raw().to_owned(),
    }
}

/// Progress in one course, with the member where it was sent along. An answer that does not name the course is about the
/// one that was asked for, as long as it says anything about progress.
pub fn member_progress(object: &Object<'_>, course_id: &str) -> Option<MemberCourseProgress> {
    object.get(&["courseId", "activePosts", "completedPosts"])?;
    let course_id = object.text(&["courseId"]).unwrap_or_else(|| course_id.to_owned());
    let user = object.get(&["user"]).and_then(Json::object).as_ref().and_then(user);
    Some(MemberCourseProgress { progress: progress_in(course_id, object), user })
}

/// An offer.
pub fn offer(object: &Object<'_>) -> Option<Offer> {
    Some(Offer {
        id: object.text(&["id"])?,
        name: object.text(&["name"]),
        course_ids: items(object.get(&["hasCourseIds", "courseIds"])).filter_map(Json::text).collect(),
        priority: object.get(&["priority"]).and_then(Json::whole),
        updated: object.text(&["updated"]),
        raw: object.raw().to_owned(),
    })
}

/// The definition of a custom property.
pub fn property(object: &Object<'_>) -> Option<Property> {
    Some(Property {
        id: object.text(&["id"])?,
        name: object.text(&["name"]),
        kind: object.text(&["type"]),
        school_id: object.text(&["schoolId"]),
        raw: object.raw().to_owned(),
    })
}

/// A submission of an exam: any object, since its fields are not documented.
pub fn exam_result(object: &Object<'_>) -> Option<ExamResult> {
    Some(ExamResult { id: object.text(&["id"]), raw: object.raw().to_owned() })
}

/// The state of an access: as asked for, or as a state-changing route reports it.
#[derive(Debug, Default)]
pub struct State {
    /// The address.
    pub email: Option<String>,
    /// Offer or order.
    pub id: Option<String>,
    /// The new state.
    pub active: Option<bool>,
}

impl State {
    /// Whether what is reported cannot be the state that was asked for. What is not reported contradicts nothing; neither does
    /// whatever is reported as `active` after a deletion, which asks for none.
    pub fn contradicts(&self, asked: &Self) -> bool {
        let differ = |reported: &Option<String>, asked: &Option<String>| match (reported, asked) {
            (Some(reported), Some(asked)) => !reported.eq_ignore_ascii_case(asked),
            _ => false,
        };
        let other_state = self.active.is_some() && asked.active.is_some() && self.active != asked.active;
        other_state || differ(&self.email, &asked.email) || differ(&self.id, &asked.id)
    }
}

/// The new state; `id` names the field that holds offer or order.
pub fn state(object: &Object<'_>, id: &str) -> State {
    State { email: object.text(&["email"]), id: object.text(&[id]), active: object.get(&["active"]).and_then(Json::flag) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Object<'_> {
        Json::parse(text).and_then(Json::object).unwrap()
    }

    #[test]
    fn a_member_with_everything() {
        let text = r#"{"uid":"u1","email":"a@b.de","firstname":"Ann","name":"Bee","active":true,"created":"2026-01-02T03:04:05.000Z",
            "customUserProperties":{"p1":"x","p2":7,"p3":null,"p4":["a"]},
            "progress":[{"courseId":"c1","activePosts":4,"completedPosts":"2"},{"noCourse":1}],"newField":{"deep":[1]}}"#;
        let user = user(&parse(text)).unwrap();
        assert_eq!((user.uid.as_str(), user.email.as_str()), ("u1", "a@b.de"));
        assert_eq!(
            (user.first_name.as_deref(), user.last_name.as_deref(), user.active),
            (Some("Ann"), Some("Bee"), Some(true))
        );
        let values: Vec<_> =
            user.custom_properties.iter().map(|value| (value.property.as_str(), value.value.as_str())).collect();
        assert_eq!(values, [("p1", "x"), ("p2", "7"), ("p4", r#"["a"]"#)]);
        assert_eq!(user.progress.len(), 1);
        assert_eq!((user.progress[0].active_posts, user.progress[0].completed_posts), (Some(4), Some(2)));
        assert_eq!(user.raw, text);
    }

    #[test]
    fn a_member_with_the_least() {
        let user = user(&parse(
            r#"{"uid":17,"email":"a@b.de","name":null,"active":"?","customUserProperties":[{"propertyId":"p","value":1}]}"#,
        ));
        let user = user.unwrap();
        assert_eq!((user.uid.as_str(), user.last_name, user.active), ("17", None, None));
        assert_eq!(user.custom_properties, [PropertyValue { property: "p".into(), value: "1".into() }]);
    }

    #[test]
    fn what_does_not_identify_itself_is_no_entity() {
        for text in ["{}", r#"{"uid":"u1"}"#, r#"{"email":"a@b.de"}"#, r#"{"uid":"","email":"a@b.de"}"#] {
            assert!(user(&parse(text)).is_none(), "{text}");
        }
        assert!(offer(&parse(r#"{"name":"x"}"#)).is_none());
        assert!(property(&parse(r#"{"name":"x"}"#)).is_none());
        assert!(progress(&parse(r#"{"activePosts":1}"#)).is_none());
        assert!(member_progress(&parse(r#"{"ok":true}"#), "c1").is_none());
    }

    #[test]
    fn offers_properties_and_results() {
        let offer =
            offer(&parse(r#"{"id":1,"name":"Yoga","hasCourseIds":["c1",2],"priority":"-2","updated":"2026-01-01"}"#)).unwrap();
        assert_eq!((offer.id.as_str(), offer.priority), ("1", Some(-2)));
        assert_eq!(offer.course_ids, ["c1", "2"]);
        let property = property(&parse(r#"{"id":"p1","name":"Shoe size","schoolId":"s","type":"number"}"#)).unwrap();
        assert_eq!((property.kind.as_deref(), property.school_id.as_deref()), (Some("number"), Some("s")));
        let entry = member_progress(&parse(r#"{"activePosts":3,"user":{"uid":"u","email":"a@b.de"}}"#), "c1").unwrap();
        assert_eq!((entry.progress.course_id.as_str(), entry.user.unwrap().uid.as_str()), ("c1", "u"));
        assert_eq!(exam_result(&parse(r#"{"score":3}"#)).unwrap().id, None);
    }
}
