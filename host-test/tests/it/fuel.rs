//! How much work the component has with each function: what the engine counts for it, and what it asks of the host. Both are the
//! same on every machine, unlike time, so a change that makes the component slower shows here.

use std::{env, fmt::Write as _, fs, sync::OnceLock};

use memberspot_host::{
    Host,
    census::Census,
    simulator::{Clock, Options},
};

use crate::{
    matrix::{Subject, subjects, virtual_time},
    stage::{self, Stage},
};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/fuel.md");

const HEAD: &str = "\
# The work of each function

What a call costs inside the component, answered by the demo school of the simulator: fuel, which is wasmtime's count of the
instructions that were executed (in thousands), and calls to the host. A test fails when either has risen, by more than 5 % for
fuel, and also when it has fallen, so that what was won is kept:

```sh
cargo test --workspace --test it fuel -- --nocapture  # prints the table; fails when this file is another
UPDATE=1 cargo test --workspace --test it fuel        # writes this file
```

| function | fuel, thousands | calls to the host |
|---|---:|---:|
";

/// A part of so many may change before the file has to.
const TOLERANCE: u64 = 20;

struct Cost {
    name: String,
    /// In hundreds.
    fuel: u64,
    calls: u64,
}

/// Counting makes instances slower, so no other test works with this one.
fn host() -> &'static Host {
    static HOST: OnceLock<Host> = OnceLock::new();
    HOST.get_or_init(|| Host::builder().fuel().sender(stage::network().clone()).build().expect("the component compiles"))
}

fn cost(subject: &Subject, census: &Census) -> Cost {
    let fuel = virtual_time(async {
        let stage = Stage::in_memory(Options { clock: Clock::tokio(), rate_limit: None, ..Options::default() });
        let tenant = host().tenant("test", stage.connection.clone());
        drop(census.take());
        let (outcome, fuel) = host().fuel_of(&tenant, subject.function, &subject.input).await.expect("an answer");
        assert!(outcome.into_json().is_ok(), "{}", subject.name());
        fuel
    });
    Cost { name: subject.name(), fuel: fuel.div_ceil(100), calls: census.take().values().sum() }
}

fn table(costs: &[Cost]) -> String {
    let mut table = HEAD.to_owned();
    for Cost { name, fuel, calls } in costs {
        writeln!(table, "| {name} | {}.{} | {calls} |", fuel / 10, fuel % 10).expect("memory");
    }
    table
}

/// What the file says.
fn kept(file: &str) -> Vec<Cost> {
    let row = |line: &str| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, name, fuel, calls, _] = cells.as_slice() else { return None };
        Some(Cost { name: (*name).to_owned(), fuel: fuel.replace('.', "").parse().ok()?, calls: calls.parse().ok()? })
    };
    file.lines().filter_map(row).collect()
}

/// What is wrong with the file.
fn differences(kept: &[Cost], costs: &[Cost]) -> Vec<String> {
    let names = |costs: &[Cost]| costs.iter().map(|cost| cost.name.clone()).collect::<Vec<_>>();
    if names(kept) != names(costs) {
        return vec!["other functions".to_owned()];
    }
    let pairs = kept.iter().zip(costs);
    let differ = |was: &Cost, is: &Cost| was.calls != is.calls || was.fuel.abs_diff(is.fuel) * TOLERANCE > was.fuel;
    let text = |was: &Cost, is: &Cost| format!("{}: {} → {}, calls {} → {}", is.name, was.fuel, is.fuel, was.calls, is.calls);
    pairs.filter(|(was, is)| differ(was, is)).map(|(was, is)| text(was, is)).collect()
}

#[test]
fn no_function_has_become_dearer() {
    let census = Census::default();
    let costs = || subjects().iter().map(|subject| cost(subject, &census)).collect::<Vec<_>>();
    let costs = census.count(|| {
        // What another test calls for the first time in this very moment may be registered as something that nobody counts.
        drop(costs());
        tracing::callsite::rebuild_interest_cache();
        costs()
    });
    assert!(costs.iter().all(|cost| cost.fuel > 0 && cost.calls > 0), "nothing was counted");
    let table = table(&costs);
    println!("{table}");
    if env::var_os("UPDATE").is_some_and(|value| value == "1") {
        fs::write(FILE, table).expect("a file that can be written");
        return;
    }
    let differences = differences(&kept(&fs::read_to_string(FILE).unwrap_or_default()), &costs);
    assert!(differences.is_empty(), "docs/fuel.md is stale; UPDATE=1 writes it: {differences:#?}");
}

#[test]
fn what_is_compared_is_what_was_written() {
    let costs = |fuel, calls| [Cost { name: "a.b (way)".to_owned(), fuel, calls }];
    let file = table(&costs(1000, 7));
    assert!(file.ends_with("| a.b (way) | 100.0 | 7 |\n"), "{file}");
    for (fuel, calls, same) in
        [(1000, 7, true), (1050, 7, true), (950, 7, true), (1051, 7, false), (949, 7, false), (1000, 8, false)]
    {
        assert_eq!(differences(&kept(&file), &costs(fuel, calls)).is_empty(), same, "{fuel}, {calls}");
    }
    assert!(!differences(&kept(HEAD), &costs(1000, 7)).is_empty());
}
