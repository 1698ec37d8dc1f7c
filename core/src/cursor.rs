//! Cursors: what a poll has to remember until the next one, as text that callers keep and cannot do much wrong with.
//!
//! `NAME:FIELD:…:CHECK`, where the name has the version in it, and the check is a mark of all that comes before it and of
//! what the cursor is about. It keeps out accidents: texts that were cut, altered or mixed up. It is no signature; whoever makes
//! a cursor by hand fools nobody but himself, so fields are bounded and checked when they are read all the same.

use std::{collections::BTreeSet, hash::Hasher as _};

use fnv::FnvHasher;

use crate::{error::invalid_input, wit::types::Error};

/// The letters of a mark: six bits each, and none that a cursor uses otherwise.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// The length of a mark.
const MARK: usize = 10;

/// What is remembered of an id: 60 bits of its hash, which has to stay the same for as long as cursors are kept.
pub fn mark(text: &str) -> String {
    let mut hasher = FnvHasher::default();
    hasher.write(text.as_bytes());
    let hash = hasher.finish();
    let letter = |nth: usize| {
        // Six bits are an index into 64 letters.
        let index = usize::try_from(hash >> (6 * nth) & 63).unwrap_or_default();
        LETTERS.get(index).copied().unwrap_or_default()
    };
    (0..MARK).map(|nth| char::from(letter(nth))).collect()
}

/// A set of marks of bounded size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks(BTreeSet<String>);

impl Marks {
    /// Whether a mark is there.
    pub fn has(&self, mark: &str) -> bool {
        self.0.contains(mark)
    }

    /// Adds a mark, unless there are so many already. Whether it was not there, and is now.
    pub fn add(&mut self, mark: String, most: usize) -> bool {
        self.0.len() < most && self.0.insert(mark)
    }

    /// Adds all of these for which there is room.
    pub fn add_all(&mut self, marks: Self, most: usize) {
        for mark in marks.0 {
            self.add(mark, most);
        }
    }

    /// The text of all of them.
    pub fn write(&self) -> String {
        self.0.iter().map(String::as_str).collect()
    }

    /// Reads that text.
    pub fn read(text: &str) -> Option<Self> {
        let mut marks = BTreeSet::new();
        let mut rest = text;
        // One by one: a set that is collected sorts a list first, and the code for that is larger than all of this.
        while !rest.is_empty() {
            let (mark, more) = rest.split_at_checked(MARK)?;
            if !mark.bytes().all(|letter| LETTERS.contains(&letter)) {
                return None;
            }
            marks.insert(mark.to_owned());
            rest = more;
        }
        Some(Self(marks))
    }
}

/// A kind of cursor: the name with which each begins.
pub struct Kind(pub &'static str);

impl Kind {
    /// The text of a cursor about something.
    pub fn write(&self, subject: &str, fields: &[String]) -> String {
        let text = format!("{}:{}", self.0, fields.join(":"));
        let check = check(subject, &text);
        text + ":" + &check
    }

    /// Reads a cursor about something; `read` makes sense of its fields.
    ///
    /// # Errors
    /// `invalid-input`, where it is not one of this kind, about that, and unchanged.
    pub fn read<'a, T>(
        &self,
        subject: &str,
        cursor: &'a str,
        read: impl FnOnce(&mut dyn Iterator<Item = &'a str>) -> Option<T>,
    ) -> Result<T, Error> {
        let fields = || {
            let (text, claimed) = cursor.rsplit_once(':')?;
            let fields = text.strip_prefix(self.0)?.strip_prefix(':')?;
            (claimed == check(subject, text)).then_some(fields)
        };
        let sense = |fields: &'a str| {
            let mut fields = fields.split(':');
            read(&mut fields).filter(|_| fields.next().is_none())
        };
        fields().and_then(sense).ok_or_else(|| {
            let problem = "is not what this function gave for this request, or it was altered; pass the cursor of the poll before \
                           unchanged, or leave it out to begin anew";
            invalid_input("cursor", problem)
        })
    }
}

fn check(subject: &str, text: &str) -> String {
    // Neither has a line break in it.
    mark(&format!("{subject}\n{text}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KIND: Kind = Kind("test1");

    fn read(subject: &str, cursor: &str) -> Option<Vec<String>> {
        KIND.read(subject, cursor, |fields| Some(fields.map(str::to_owned).collect())).ok()
    }

    #[test]
    fn marks_stay_what_they_are() {
        // FNV-1a: these are its published offset basis and test vectors, six bits a letter from the lowest on.
        for (text, hash) in [("", 0xcbf2_9ce4_8422_2325_u64), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)] {
            let letters = (0..10).map(|nth| LETTERS[usize::try_from(hash >> (6 * nth) & 63).unwrap()]);
            assert_eq!(mark(text), letters.map(char::from).collect::<String>());
        }
    }

    #[test]
    fn sets_of_marks_are_bounded() {
        let mut marks = Marks::default();
        assert!(marks.add(mark("a"), 2) && !marks.add(mark("a"), 2) && marks.add(mark("b"), 2) && !marks.add(mark("c"), 2));
        assert_eq!(marks.write().len(), 20);
        assert!(!marks.has(&mark("c")));
        assert_eq!(Marks::read(""), Some(Marks::default()));
        for bad in ["x", "AAAAAAAAAA.", "AAAAAAAAA ", "AAAAAAAAAé"] {
            assert_eq!(Marks::read(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        let good = KIND.write("exam", &["1".into(), "x".into()]);
        assert_eq!(read("exam", &good), Some(vec!["1".into(), "x".into()]));
        assert_eq!(read("another", &good), None);
        assert!(Kind("test2").read("exam", &good, |_| Some(())).is_err());
        assert!(KIND.read("exam", &good, |fields| fields.next().map(drop)).is_err(), "a field too many");
        assert!(KIND.read("exam", &good, |_| None::<()>).is_err());
        for bad in
            ["", ":", "test1", "test1:", "test1::", " ", &format!(" {good}"), &format!("{good} "), &good[..good.len() - 1]]
        {
            assert_eq!(read("exam", bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn marks_come_back(texts in proptest::collection::vec(".*", 0..20)) {
            let mut marks = Marks::default();
            for text in &texts {
                marks.add(mark(text), 100);
            }
            let again = Marks::read(&marks.write());
            prop_assert!(texts.iter().all(|text| marks.has(&mark(text))));
            prop_assert_eq!(again, Some(marks));
        }

        #[test]
        fn no_change_goes_unnoticed(
            fields in proptest::collection::vec("[a-zA-Z0-9%,_-]{0,12}", 0..5),
            place in any::<proptest::sample::Index>(),
            other in any::<char>(),
        ) {
            let cursor = KIND.write("exam", &fields);
            let place = place.index(cursor.len());
            for end in [place, place + 1] {
                let changed = format!("{}{other}{}", &cursor[..place], &cursor[end..]);
                if changed != cursor {
                    prop_assert_eq!(read("exam", &changed), None);
                }
            }
            let cut = format!("{}{}", &cursor[..place], &cursor[place + 1..]);
            prop_assert_eq!(read("exam", &cut), None);
            let before = if fields.is_empty() { vec![String::new()] } else { fields };
            prop_assert_eq!(read("exam", &cursor), Some(before));
        }
    }
}
