//! The progress bar: on a terminal alone.

use std::fmt::Write;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use super::work::Tally;
use crate::cli::output;

/// How far the work is, for who watches it.
pub struct Progress(ProgressBar);

impl Progress {
    /// For so many rows. indicatif shows nothing where standard error is no terminal.
    pub fn new(rows: usize, shown: bool) -> Self {
        let bar = if shown { ProgressBar::new(rows as u64) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("{bar:20} {percent:>3} %  {msg}  {rate}  {elapsed_precise}");
        let rate = |state: &ProgressState, out: &mut dyn Write| {
            // The bar goes without it.
            let _ = write!(out, "{:.0}/s", state.per_sec());
        };
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).with_key("rate", rate));
        bar.enable_steady_tick(Duration::from_millis(250));
        let progress = Self(bar);
        progress.show(&Tally::default(), rows);
        progress
    }

    /// Shows how far the work is.
    pub fn show(&self, tally: &Tally, left: usize) {
        let failed = tally.failures();
        self.0.set_message(format!("{} done, {failed} failed, {left} left", tally.done));
        self.0.set_position((tally.done + failed) as u64);
    }

    /// Says something beside the bar.
    pub fn say(&self, text: &str) {
        self.0.suspend(|| output::message(|err| writeln!(err, "{text}")));
    }

    /// Takes the bar away.
    pub fn end(&self) {
        self.0.finish_and_clear();
    }
}
