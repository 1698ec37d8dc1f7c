//! What is wrong with a file.

use std::fmt;

use crate::text::{one_line, quoted};

/// How many mistakes are listed.
pub const MOST_LISTED: usize = 20;

/// Why a row is no operation.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where in the row.
    pub place: Option<String>,
    /// What is wrong, in words.
    pub problem: String,
}

impl Mistake {
    /// In one place of a row.
    pub fn at(place: &str, problem: impl fmt::Display) -> Self {
        Self { place: Some(place.to_owned()), problem: problem.to_string() }
    }

    /// Of a row as a whole.
    pub fn of_row(problem: impl fmt::Display) -> Self {
        Self { place: None, problem: problem.to_string() }
    }
}

/// What is wrong with a file, row by row: the first mistakes, and how many more there are.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Mistakes {
    /// Each with the number of its row.
    pub listed: Vec<(u32, Mistake)>,
    /// How many there are.
    pub count: usize,
}

impl Mistakes {
    /// Adds one.
    pub fn add(&mut self, row: u32, mistake: Mistake) {
        self.count += 1;
        if self.listed.len() < MOST_LISTED {
            self.listed.push((row, mistake));
        }
    }

    /// A single one.
    pub fn single(row: u32, problem: impl fmt::Display) -> Self {
        let mut mistakes = Self::default();
        mistakes.add(row, Mistake::of_row(problem));
        mistakes
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (row, mistake) in &self.listed {
            write!(f, "\n  row {row}")?;
            if let Some(place) = &mistake.place {
                write!(f, ", {}", quoted(place))?;
            }
            write!(f, ": {}", one_line(&mistake.problem))?;
        }
        match self.count - self.listed.len() {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}
