//! The results: as a table, as JSON, as a picture.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;

use serde::Serialize;

use super::load::{Mode, Sample, Work};
use super::server::Usage;
use crate::cli::output::{self, BOLD, DIM};

pub type CallsToHost = BTreeMap<&'static str, BTreeMap<String, u64>>;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whether this program was built without optimisation.
    pub debug: bool,
    pub rounds: u8,
    pub rows: Vec<Row>,
    pub instances: Instances,
    pub calls_to_host: CallsToHost,
    pub sustained: Vec<Sustained>,
    /// Calls that were made, the server's own count of requests, and whether its process ended well.
    pub made: u64,
    pub server: Usage,
    pub server_ended: bool,
}

/// The medians of a way to make calls.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    pub mode: &'static str,
    pub work: &'static str,
    pub concurrency: u16,
    pub per_second: f64,
    /// How far the rounds were apart: a share of the median, of the quarters around it.
    pub noise: f64,
    pub p50_micros: f64,
    pub p99_micros: f64,
    pub cpu_micros: f64,
    /// Bytes.
    pub peak_memory: Option<u64>,
    pub failures: usize,
    pub first_failure: Option<String>,
}

impl Row {
    pub fn new(mode: Mode, work: Work, concurrency: u16, samples: &[Sample]) -> Self {
        let of = |value: fn(&Sample) -> f64| samples.iter().map(value).collect::<Vec<_>>();
        let per_second = of(|sample| sample.per_second);
        Self {
            mode: mode.name(),
            work: work.name(),
            concurrency,
            noise: noise(per_second.clone()),
            per_second: median(per_second),
            p50_micros: median(of(|sample| sample.p50)),
            p99_micros: median(of(|sample| sample.p99)),
            cpu_micros: median(of(|sample| sample.cpu)),
            peak_memory: samples.iter().filter_map(|sample| sample.memory).max(),
            failures: samples.iter().map(|sample| sample.failures.len()).sum(),
            first_failure: samples.iter().find_map(|sample| sample.failures.first().cloned()),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Instances {
    /// To make one and throw it away.
    pub micros: f64,
    /// The same with the bindings of all functions.
    pub micros_with_bindings: f64,
    /// So many waited for an answer at the same time,
    pub live: usize,
    /// each with so many bytes.
    pub bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sustained {
    pub mode: &'static str,
    pub seconds: u64,
    pub good: u64,
    pub made: u64,
    /// Connections that have ended and that the system still remembers.
    pub time_wait_before: Option<u64>,
    pub time_wait: Option<u64>,
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    if values.len() % 2 == 1 { at(middle) } else { f64::midpoint(at(middle.wrapping_sub(1)), at(middle)) }
}

/// How far the first and the third quarter are apart, as a share of the median.
fn noise(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values.get(((values.len().saturating_sub(1)) as f64 * share).round() as usize).copied();
    match (at(0.25), at(0.75)) {
        (Some(first), Some(third)) => (third - first) / median(values),
        _ => f64::NAN,
    }
}

impl Report {
    /// Whether all calls came to their answers, and the server saw each of them once.
    pub fn is_sound(&self) -> bool {
        self.server_ended
            && self.server.requests == self.made
            && self.rows.iter().all(|row| row.failures == 0)
            && self.sustained.iter().all(|sustained| sustained.good == sustained.made)
    }

    /// The speed and the processor time, as shares of the native ones.
    fn shares(&self, row: &Row) -> (f64, f64) {
        let native =
            |other: &&Row| other.mode == Mode::Native.name() && other.work == row.work && other.concurrency == row.concurrency;
        let native = self.rows.iter().find(native);
        let share = |of: fn(&Row) -> f64| native.map_or(f64::NAN, |native| of(row) / of(native));
        (share(|row| row.per_second), share(|row| row.cpu_micros))
    }

    pub fn print(&self) -> io::Result<()> {
        output::stdout(|out| {
            if self.debug {
                writeln!(out, "This is a debug build: the numbers say little. Build with --release.\n")?;
            }
            let mut group = None;
            for row in &self.rows {
                if group.replace((row.work, row.concurrency)) != Some((row.work, row.concurrency)) {
                    let Row { work, concurrency, .. } = row;
                    writeln!(out, "{BOLD}{work}, {concurrency} in flight{BOLD:#}")?;
                    let [name, speed, share, noise, p50, p99, cpu, times, peak] =
                        ["", "calls/s", "share", "noise", "p50 µs", "p99 µs", "CPU µs", "times", "peak MB"];
                    writeln!(
                        out,
                        "{DIM}  {name:<9} {speed:>8} {share:>6} {noise:>6} {p50:>8} {p99:>8} {cpu:>7} {times:>6} {peak:>8}{DIM:#}"
                    )?;
                }
                let peak = row.peak_memory.map_or_else(|| "?".to_owned(), |bytes| format!("{:.1}", bytes as f64 / 1e6));
                let (share, times) = self.shares(row);
                writeln!(
                    out,
                    "  {:<9} {:>8.0} {share:>6.2} {:>5.0}% {:>8.0} {:>8.0} {:>7.1} {times:>6.1} {peak:>8}",
                    row.mode,
                    row.per_second,
                    row.noise * 100.0,
                    row.p50_micros,
                    row.p99_micros,
                    row.cpu_micros
                )?;
                if let Some(failure) = &row.first_failure {
                    writeln!(out, "    {} calls failed, the first with: {}", row.failures, output::one_line(failure))?;
                }
            }
            let Instances { micros, micros_with_bindings, live, bytes } = &self.instances;
            writeln!(out, "\n{BOLD}instances{BOLD:#}")?;
            writeln!(out, "  made and thrown away in {micros:.1} µs, with all typed bindings in {micros_with_bindings:.1} µs")?;
            if let Some(bytes) = bytes {
                writeln!(out, "  {:.0} KB each while {live} wait for an answer", *bytes as f64 / 1e3)?;
            }
            for (work, calls) in &self.calls_to_host {
                writeln!(out, "\n{BOLD}calls to the host, {work}: {}{BOLD:#}", calls.values().sum::<u64>())?;
                let calls: Vec<_> = calls.iter().map(|(name, count)| format!("{count} {name}")).collect();
                writeln!(out, "{}", output::wrap(&calls.join(", "), output::width(), 2))?;
            }
            if !self.sustained.is_empty() {
                writeln!(out, "\n{BOLD}1,000 calls a second{BOLD:#}")?;
            }
            for Sustained { mode, seconds, good, made, time_wait_before, time_wait } in &self.sustained {
                let shown = |count: &Option<u64>| count.map_or_else(|| "?".to_owned(), |count| count.to_string());
                let (before, after) = (shown(time_wait_before), shown(time_wait));
                writeln!(
                    out,
                    "  {mode:<9} {good} of {made} in {seconds} s, sockets in TIME_WAIT: {before} before, {after} after"
                )?;
            }
            let Usage { requests, connections, cpu_micros } = self.server;
            let each = cpu_micros as f64 / (requests as f64).max(1.0);
            writeln!(
                out,
                "\nThe server answered {requests} of {} requests over {connections} connections, with {each:.1} µs of CPU each.",
                self.made
            )?;
            let noise = median(self.rows.iter().map(|row| row.noise).collect());
            writeln!(
                out,
                "Noise: half of the {} rounds lie within {:.0}% of speed, in the middle row.",
                self.rounds,
                noise * 100.0
            )?;
            writeln!(out)?;
            Mode::ALL.iter().try_for_each(|mode| writeln!(out, "{DIM}{:<9} {}{DIM:#}", mode.name(), mode.description()))
        })
    }

    /// The shares of the native speed, as bars, at 32 in flight where that was measured.
    pub fn svg(&self) -> String {
        const WIDTH: f64 = 460.0;
        let concurrency =
            self.rows.iter().map(|row| row.concurrency).min_by_key(|in_flight| in_flight.abs_diff(32)).unwrap_or(0);
        let mut body = String::new();
        let mut y = 24;
        for work in Work::ALL {
            let rows = self.rows.iter().filter(|row| row.work == work.name() && row.concurrency == concurrency);
            let _ = writeln!(body, r#"<text class="head" x="0" y="{y}">{}, {concurrency} in flight</text>"#, work.name());
            y += 12;
            for row in rows {
                let (share, _) = self.shares(row);
                let length = (share * WIDTH).clamp(1.0, WIDTH * 1.2);
                let class = if row.mode == Mode::Native.name() { "native" } else { "ours" };
                let (text, end) = (y + 15, 80.0 + length + 6.0);
                let _ = writeln!(body, r#"<text x="72" y="{text}" text-anchor="end">{}</text>"#, row.mode);
                let _ = writeln!(body, r#"<rect class="{class}" x="80" y="{y}" width="{length:.0}" height="20" rx="2"/>"#);
                let value = format!("{share:.2} · {:.0}/s · {:.0} µs CPU", row.per_second, row.cpu_micros);
                let _ = writeln!(body, r#"<text x="{end:.0}" y="{text}">{value}</text>"#);
                y += 24;
            }
            y += 24;
        }
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="-8 0 768 {y}" font-family="system-ui, sans-serif" font-size="13">
<title>Calls a second, as shares of a native client's</title>
<style>
text {{ fill: #1f2328 }} .head {{ font-weight: 600 }} .native {{ fill: #8c959f }} .ours {{ fill: #0969da }}
@media (prefers-color-scheme: dark) {{ text {{ fill: #e6edf3 }} .native {{ fill: #6e7681 }} .ours {{ fill: #4493f8 }} }}
</style>
{body}</svg>
"#
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_noise() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median(vec![]).is_nan());
        assert!((noise(vec![10.0, 11.0, 12.0, 13.0, 14.0]) - 2.0 / 12.0).abs() < 1e-9);
    }
}
