//! `memberspot bench`: what a call costs, beside a client without a sandbox.

#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "measurements")]

mod load;
mod native;
mod report;
mod server;

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use clap::{Args, ValueHint};
use memberspot_host::HostError;
use memberspot_host::census::Census;

use self::load::{Callers, Extent, Mode, Sample, Work};
use self::report::{Instances, Report, Row, Sustained};
use self::server::Server;
use super::output::{self, Failure};
use super::{HOST, SUCCESS};

/// How long each measurement takes. They take turns, and turns that are short meet the same disturbances.
const SLICE: Duration = Duration::from_millis(100);

/// Measure what calls cost, beside a client without a sandbox.
#[derive(Debug, Args)]
#[command(
    after_help = "All measurements of a run take turns, and what is shown is the median of the rounds: what disturbs the \
machine disturbs all of them. Compare the numbers of one run; those of another run, or another machine, are others.

The server is a process of its own on this machine, and its processor time is not counted. Calls are made from one thread."
)]
pub struct Bench {
    /// Measure less: half a minute instead of several.
    #[arg(long)]
    short: bool,
    /// Draw the shares of the native speed into a file.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    svg: Option<PathBuf>,
    /// Calls in flight; repeat for more [default: 1, 8, 32 and 128, or 1 and 32 with --short].
    #[arg(long, value_name = "CALLS", value_parser = clap::value_parser!(u16).range(1..=1000))]
    concurrency: Vec<u16>,
    /// How often everything is measured.
    #[arg(long, value_name = "ROUNDS", value_parser = clap::value_parser!(u8).range(1..=100))]
    rounds: Option<u8>,
    /// Let each worker make so many calls, instead of measuring for a time.
    #[arg(long, hide = true)]
    calls: Option<u64>,
    /// Be the server.
    #[arg(long, hide = true)]
    serve: bool,
}

impl Bench {
    pub fn execute(&self, json: bool) -> Result<u8, Failure> {
        if self.serve {
            server::serve()?;
            return Ok(SUCCESS);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::host(&error))?;
        let report = self.measure(&runtime)?;
        if json {
            output::json(&report)?;
        } else {
            report.print()?;
        }
        if let Some(file) = &self.svg {
            std::fs::write(file, report.svg()).map_err(|error| Failure::output(file, &error))?;
        }
        Ok(if report.is_sound() { SUCCESS } else { HOST })
    }

    fn measure(&self, runtime: &tokio::runtime::Runtime) -> Result<Report, Failure> {
        let host = |error: HostError| Failure::host(&error);
        let system = |error: std::io::Error| Failure::host(&error);

        let concurrencies = match (self.concurrency.as_slice(), self.short) {
            ([], true) => &[1, 32],
            ([], false) => &[1, 8, 32, 128][..],
            (chosen, _) => chosen,
        };
        let rounds = self.rounds.unwrap_or(if self.short { 8 } else { 15 });
        let extent = match self.calls {
            Some(calls) => Extent::Calls(calls),
            None => Extent::Time(SLICE),
        };

        let server = Server::start().map_err(system)?;
        let most = concurrencies.iter().copied().max().unwrap_or(1).max(64);
        let callers = Rc::new(Callers::new(server.address, usize::from(most)).map_err(host)?);

        let mut made = 0;
        let mut rows = vec![];
        for work in Work::ALL {
            for &concurrency in concurrencies {
                for mode in Mode::ALL {
                    rows.push((mode, work, concurrency, vec![]));
                }
            }
        }
        // The first round warms up: memory, connections, the processor's caches.
        for round in 0..=rounds {
            if self.calls.is_none() {
                output::message(|err| writeln!(err, "round {round} of {rounds}"));
            }
            for (mode, work, concurrency, samples) in &mut rows {
                let measured = load::measure(&callers, *mode, *work, usize::from(*concurrency), extent);
                let sample: Sample = runtime.block_on(measured);
                made += sample.calls + sample.failures.len() as u64;
                if round > 0 {
                    samples.push(sample);
                }
            }
        }
        let rows = rows.into_iter().map(|(mode, work, concurrency, samples)| Row::new(mode, work, concurrency, &samples));
        let rows: Vec<_> = rows.collect();

        let instances = self.instances(runtime, &callers).map_err(host)?;
        let calls_to_host = self.calls_to_host(runtime, &callers, &mut made)?;
        let sustained = match self.calls {
            Some(_) => vec![],
            None => self.sustained(runtime, &callers, server.address.port(), &mut made),
        };
        let usage = server.usage().map_err(system)?;
        let server_ended = server.stop().map_err(system)?;
        Ok(Report {
            debug: cfg!(debug_assertions),
            rounds,
            rows,
            instances,
            calls_to_host,
            sustained,
            made,
            server: usage,
            server_ended,
        })
    }

    fn instances(&self, runtime: &tokio::runtime::Runtime, callers: &Callers) -> Result<Instances, HostError> {
        let (times, live) = if self.calls.is_some() { (10, 10) } else { (2000, 1000) };
        let median = |bindings| {
            let times = (0..7).map(|_| runtime.block_on(load::instance(callers, bindings, times)));
            times.collect::<Result<Vec<_>, _>>().map(report::median)
        };
        let (micros, micros_with_bindings) = (median(false)?, median(true)?);
        // Last, since the memory of so many instances is not given back at once.
        let bytes = runtime.block_on(load::memory_of_instances(live))?;
        Ok(Instances { micros, micros_with_bindings, live, bytes })
    }

    /// Which functions of the host one call calls, and how often.
    fn calls_to_host(
        &self,
        runtime: &tokio::runtime::Runtime,
        callers: &Callers,
        made: &mut u64,
    ) -> Result<report::CallsToHost, Failure> {
        let census = Census::default();
        let mut calls = report::CallsToHost::new();
        for work in Work::ALL {
            *made += 1;
            let call = census.count(|| runtime.block_on(callers.call(Mode::Fresh, work)));
            call.map_err(|error| Failure::host(&*error))?;
            calls.insert(work.name(), census.take());
        }
        Ok(calls)
    }

    fn sustained(&self, runtime: &tokio::runtime::Runtime, callers: &Rc<Callers>, port: u16, made: &mut u64) -> Vec<Sustained> {
        const PER_SECOND: u64 = 1000;
        let (long, brief) = if self.short { (4, 2) } else { (60, 10) };
        let mut sustained = vec![];
        for (mode, seconds) in [(Mode::Fresh, long), (Mode::Unpooled, brief)] {
            let before = load::time_wait(port);
            let (good, all) = runtime.block_on(load::sustain(callers, mode, PER_SECOND, Duration::from_secs(seconds)));
            *made += all;
            let after = load::time_wait(port);
            sustained.push(Sustained {
                mode: mode.name(),
                seconds,
                good,
                made: all,
                time_wait_before: before,
                time_wait: after,
            });
        }
        sustained
    }
}
