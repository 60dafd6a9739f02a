//! `sim run`: many seeds, each of them, or a share, run a second time in another process and another order.

use super::spread::spread;
use super::{DIFFERS, FAILED, How, USAGE, WELL, check, complain, now, save, say};
use clap::Args;
use serde_json::json;
use sim::marks::{Mark, Marks};
use sim::saved::Trace;
use sim::{Failure, Keep};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// So many seeds per thread between two looks at the progress.
const BATCH: u64 = 64;
/// The curve of different states begins at so many seeds.
const CURVE_FROM: u64 = 64;
/// With `--marks`, no more of the different states may be new in the second half of the seeds. More says that worlds are still
/// reaching what was not seen before, so a longer range is due.
const NEW_STATES_MAX: f64 = 0.1;
/// No more failures are printed one by one, and saved.
const FAILURES_MAX: usize = 20;

/// What to run.
#[derive(Args)]
pub(crate) struct Run {
    /// How many seeds.
    #[arg(long, default_value_t = 2000)]
    seeds: u64,
    /// As many seeds as so long takes instead: 90s, 2m.
    #[arg(long = "for", value_name = "TIME", value_parser = seconds_of, conflicts_with = "seeds")]
    seconds: Option<u64>,
    /// The first one.
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// Threads; as many as there are processors if not given.
    #[arg(long)]
    jobs: Option<usize>,
    /// Run only every so-many-th seed a second time, in another process and another order, and compare; 0 for none.
    #[arg(long, value_name = "SHARE", default_value_t = 1)]
    twice: u64,
    /// Fail if a state that must be seen is not seen in any of these seeds, or if they go on reaching new ones.
    #[arg(long)]
    marks: bool,
    /// Where the traces of failures go.
    #[arg(long, value_name = "FOLDER", default_value = "sim-traces")]
    traces: PathBuf,
    /// Print nothing but the hash of each seed, the last one first.
    #[arg(long, hide = true)]
    hashes: bool,
    #[command(flatten)]
    how: How,
}

#[derive(Default)]
struct Sum {
    marks: Marks,
    states: BTreeSet<u64>,
    /// How many different ones there were after each seed.
    curve: Vec<usize>,
    seeds: u64,
    steps: u64,
    events: u64,
    simulated_us: u64,
    lives: u64,
    executions: u64,
    failures: usize,
    twice: u64,
    differ: u64,
}

/// A seed's run, without what is not needed of it.
struct Ran {
    seed: u64,
    hash: u64,
    steps: u32,
    events: u32,
    simulated_us: u64,
    lives: u32,
    executions: u64,
    marks: Marks,
    states: BTreeSet<u64>,
    failure: Option<Failure>,
}

pub(crate) fn run(run: &Run) -> u8 {
    let jobs = super::jobs(run.jobs);
    if run.hashes {
        return hashes(run, jobs);
    }
    let began = now();
    let bar = Bar { on: std::io::stderr().is_terminal() && !run.how.json, seeds: run.seeds, seconds: run.seconds };
    let mut sum = Sum::default();
    // Seeds are numbers of 64 bits, and there are enough behind any start for any time.
    let seeds = if run.seconds.is_some() { u64::MAX - run.start } else { run.seeds };
    let is_over = || run.seconds.is_some_and(|seconds| now().duration_since(began).as_secs() >= seconds);
    while sum.seeds < seeds && !is_over() {
        let count = (jobs as u64 * BATCH).min(seeds - sum.seeds);
        let first = run.start + sum.seeds;
        let compared = elsewhere(first, count, jobs, run).and_then(|other| {
            let ran = batch(first, count, jobs, &run.how);
            other.map_or(Ok(()), |other| compare(&ran, other, run, &mut sum)).map(|()| ran)
        });
        let ran = match compared {
            Ok(ran) => ran,
            Err(what) => {
                complain(run.how.json, format_args!("cannot run seeds in another process: {what}"));
                return USAGE;
            }
        };
        for ran in &ran {
            sum.add(ran);
            if let Some(failure) = &ran.failure {
                bar.clear();
                failed(ran.seed, failure, sum.failures, run);
            }
        }
        bar.show(&sum, now().duration_since(began).as_secs_f64());
    }
    bar.clear();
    summary(&sum, now().duration_since(began).as_secs_f64(), &run.how);
    let unseen = run.marks && (sum.marks.missing().next().is_some() || sum.new_states() > NEW_STATES_MAX);
    match (sum.differ, sum.failures) {
        (0, 0) if !unseen => WELL,
        (0, _) => FAILED,
        _ => DIFFERS,
    }
}

/// Seconds, from a number with its unit.
fn seconds_of(text: &str) -> Result<u64, String> {
    let (number, unit) = text.split_at(text.trim_end_matches(char::is_alphabetic).len());
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return Err("a number with its unit: 90s, 2m, 1h".into()),
    };
    let number: u64 = number.parse().map_err(|_| "a number with its unit: 90s, 2m, 1h".to_owned())?;
    number
        .checked_mul(unit)
        .filter(|seconds| *seconds > 0)
        .ok_or_else(|| "more than nothing, and less than for ever".into())
}

/// How far it has come, on a terminal.
struct Bar {
    on: bool,
    seeds: u64,
    /// How long it is to take, if not so many seeds.
    seconds: Option<u64>,
}

impl Bar {
    const WIDTH: u64 = 30;

    fn show(&self, sum: &Sum, seconds: f64) {
        if self.on {
            let (all, done) = self.seconds.map_or((self.seeds, sum.seeds), |all| (all, seconds as u64));
            let done = (done * Bar::WIDTH / all.max(1)).min(Bar::WIDTH) as usize;
            let bar = format!("{}{}", "#".repeat(done), ".".repeat(Bar::WIDTH as usize - done));
            let rate = sum.seeds as f64 / seconds;
            let (ran, failed) = (sum.seeds, sum.failures);
            let of = self.seconds.map_or_else(|| format!(" of {}", self.seeds), |_| String::new());
            let _ = write!(std::io::stderr(), "\r[{bar}] {ran}{of} seeds, {failed} failed, {rate:.0}/s ");
        }
    }

    fn clear(&self) {
        if self.on {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn run_one(seed: u64, how: &How) -> Ran {
    let report = how.run(seed, Keep::Hash);
    Ran {
        seed,
        hash: report.hash,
        steps: report.steps,
        events: report.events,
        simulated_us: report.simulated_us,
        lives: report.lives,
        executions: report.executions,
        marks: report.marks,
        states: report.states,
        failure: report.failure,
    }
}

/// Runs `count` seeds from `first` on; they come in order.
fn batch(first: u64, count: u64, jobs: usize, how: &How) -> Vec<Ran> {
    let mut ran = Vec::new();
    let one = |place: usize| {
        how.plant();
        run_one(first + place as u64, how)
    };
    spread(jobs, count as usize, one, |one| ran.push(one));
    ran
}

/// In the other process: the hashes of its share of the seeds, from the last to the first.
fn hashes(run: &Run, jobs: usize) -> u8 {
    let seeds: Vec<u64> =
        (run.start..run.start + run.seeds).rev().filter(|seed| seed % run.twice.max(1) == 0).collect();
    let one = |place: usize| {
        run.how.plant();
        (seeds[place], run.how.run(seeds[place], Keep::Hash).hash)
    };
    spread(jobs, seeds.len(), one, |(seed, hash)| say(format_args!("{seed} {hash:016x}")));
    WELL
}

/// Another process, at work on the share of these seeds that is run twice.
fn elsewhere(first: u64, count: u64, jobs: usize, run: &Run) -> Result<Option<Child>, String> {
    if run.twice == 0 {
        return Ok(None);
    }
    let mut command = Command::new(std::env::current_exe().map_err(|error| error.to_string())?);
    command.args(["run", "--hashes", "--twice", &run.twice.to_string()]).stdin(Stdio::null()).stdout(Stdio::piped());
    command.args(["--start", &first.to_string(), "--seeds", &count.to_string()]);
    command.args(["--jobs", &jobs.to_string()]);
    command.args(run.how.args());
    command.spawn().map(Some).map_err(|error| error.to_string())
}

/// Compares what the other process found.
fn compare(ran: &[Ran], elsewhere: Child, run: &Run, sum: &mut Sum) -> Result<(), String> {
    let output = elsewhere.wait_with_output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let hashes: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once(' ')).collect();
    for ran in ran.iter().filter(|ran| ran.seed % run.twice == 0) {
        sum.twice += 1;
        let (seed, hash) = (ran.seed.to_string(), format!("{:016x}", ran.hash));
        if hashes.get(seed.as_str()) == Some(&hash.as_str()) {
            continue;
        }
        sum.differ += 1;
        let how = run.how.suffix();
        if run.how.json {
            say(format_args!(
                "{}",
                json!({ "seed": ran.seed, "same": false, "check": format!("sim check {seed}{how}") })
            ));
        } else {
            say(format_args!("seed {seed}: two runs are not the same\n    sim check {seed}{how}"));
        }
        if sum.differ == 1 {
            check::check(&super::Subject::Seed(ran.seed), &run.how);
        }
    }
    Ok(())
}

fn failed(seed: u64, failure: &Failure, failures: usize, run: &Run) {
    if failures > FAILURES_MAX && !run.how.json {
        if failures == FAILURES_MAX + 1 {
            say(format_args!("and more"));
        }
        return;
    }
    let path = run.traces.join(format!("seed-{seed}.json"));
    let saved = leave_trace(seed, &path, &run.how);
    if let Err(what) = &saved {
        complain(run.how.json, format_args!("{what}"));
    }
    if run.how.json {
        let trace = saved.is_ok().then_some(path);
        let replay = format!("sim replay {seed}{}", run.how.suffix());
        say(format_args!("{}", json!({ "seed": seed, "failure": failure, "replay": replay, "trace": trace })));
    } else {
        say(format_args!(
            "seed {seed}: {failure}\n    sim replay {seed}{}    sim shrink {}",
            run.how.suffix(),
            path.display()
        ));
    }
}

/// Runs a seed that fails once more, and saves its trace.
fn leave_trace(seed: u64, path: &Path, how: &How) -> Result<(), String> {
    how.plant();
    let trace = Trace::of(&how.run(seed, Keep::Events), Some(seed), how.planted());
    save(&trace.ok_or("the second run did not fail")?, path)
}

impl Sum {
    fn add(&mut self, ran: &Ran) {
        self.seeds += 1;
        self.steps += u64::from(ran.steps);
        self.events += u64::from(ran.events);
        self.simulated_us += ran.simulated_us;
        self.lives += u64::from(ran.lives);
        self.executions += ran.executions;
        self.failures += usize::from(ran.failure.is_some());
        self.marks.add(ran.marks);
        self.states.extend(&ran.states);
        self.curve.push(self.states.len());
    }

    /// How many different states there were after so many seeds, by doublings.
    fn doublings(&self) -> BTreeMap<u64, usize> {
        let after = |seeds: u64| Some((seeds, *self.curve.get(seeds as usize - 1)?));
        let doublings = (0..u64::BITS).map(|power| 1 << power).filter(|seeds| *seeds >= CURVE_FROM);
        doublings.map_while(after).chain(after(self.seeds.max(1))).collect()
    }

    /// The share of the different states that only the second half of the seeds reached.
    fn new_states(&self) -> f64 {
        let half = self.curve.get((self.curve.len() / 2).saturating_sub(1)).copied().unwrap_or(0);
        (self.states.len() - half) as f64 / self.states.len().max(1) as f64
    }
}

fn summary(sum: &Sum, seconds: f64, how: &How) {
    let Sum { seeds, steps, events, simulated_us, lives, executions, failures, twice, differ, .. } = *sum;
    let unseen: Vec<String> = sum.marks.missing().map(|mark| format!("{mark:?}")).collect();
    let (curve, new) = (sum.doublings(), sum.new_states());
    let (rate, simulated_s) = (seeds as f64 / seconds, simulated_us / 1_000_000);
    if how.json {
        let summary = json!({
            "seeds": seeds, "failures": failures, "twice": twice, "differ": differ, "steps": steps, "events": events,
            "simulated_s": simulated_s, "lives": lives, "executions": executions, "seconds": seconds, "seeds_per_s": rate,
            "marks": Mark::ALL.len(), "unseen": unseen, "states": curve, "new_states": new,
        });
        return say(format_args!("{summary}"));
    }
    say(format_args!(
        "{seeds} seeds, {failures} failed; {twice} of them run twice, {differ} differ\n\
         {steps} steps, {events} events, {lives} lives of sprag, {executions} commands, {simulated_s} simulated seconds; \
         {rate:.0} seeds/s"
    ));
    let curve: Vec<String> = curve.iter().map(|(seeds, states)| format!("{states} after {seeds} seeds")).collect();
    let (new, most) = (100.0 * new, 100.0 * NEW_STATES_MAX);
    say(format_args!(
        "different states: {}; {new:.1}% of them new in the second half ({most:.0}% are most that may be, with --marks)",
        curve.join(", ")
    ));
    say(format_args!("{} of {} marks were seen", Mark::ALL.len() - unseen.len(), Mark::ALL.len()));
    for mark in sum.marks.missing() {
        say(format_args!("    never: {mark:?}: {}", mark.about()));
    }
}
