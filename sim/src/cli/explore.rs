//! `sim explore`: the searches without chance, one after the other.

use super::{FAILED, How, WELL, say};
use clap::{Args, ValueEnum};
use serde_json::json;
use sim::explore::{Bound, Level, Search, searches};
use std::io::{IsTerminal as _, Write as _};

/// Which, and how far.
#[derive(Args)]
pub(crate) struct Explore {
    /// Only this level; both if none is named.
    level: Option<Which>,
    /// As far as plain `cargo test` goes, and no further.
    #[arg(long)]
    small: bool,
    #[command(flatten)]
    how: How,
}

#[derive(Clone, Copy, ValueEnum)]
enum Which {
    /// All states of the Machine in small worlds.
    Machine,
    /// All disks that crashes of small workloads leave to the journal.
    Disks,
}

pub(crate) fn explore(args: &Explore) -> u8 {
    args.how.plant();
    let level = args.level.map(|which| match which {
        Which::Machine => Level::Machine,
        Which::Disks => Level::Disks,
    });
    let bound = if args.small { Bound::Small } else { Bound::Full };
    let bar = std::io::stderr().is_terminal() && !args.how.json;
    let mut code = WELL;
    for search in searches(bound).into_iter().filter(|search| level.is_none_or(|level| search.level() == level)) {
        let began = super::now();
        let done = search.run(&mut |done, known| show(bar, &search.name(), done, known));
        if bar {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
        tell(&done, super::now().duration_since(began).as_secs_f64(), args.how.json);
        if !done.is_well() {
            code = FAILED;
        }
    }
    code
}

fn show(on: bool, name: &str, done: usize, known: usize) {
    const WIDTH: usize = 30;
    if on {
        let filled = done * WIDTH / known.max(1);
        let bar = format!("{}{}", "#".repeat(filled), ".".repeat(WIDTH - filled));
        let _ = write!(std::io::stderr(), "\r[{bar}] {done} of {known} known: {name} ");
    }
}

fn tell(search: &Search, seconds: f64, as_json: bool) {
    let Search { name, visited, depth, notes, cut, finding } = search;
    if as_json {
        let notes: serde_json::Map<String, _> = notes.iter().map(|(what, n)| ((*what).into(), json!(n))).collect();
        let finding = finding.as_ref().map(|finding| json!({ "what": finding.what, "story": finding.story }));
        let said = json!({
            "search": name, "visited": visited, "depth": depth, "exhaustive": search.is_well(), "cut": cut,
            "seconds": seconds, "notes": notes, "finding": finding,
        });
        return say(format_args!("{said}"));
    }
    let result = match (finding, cut) {
        (Some(_), _) => "FOUND SOMETHING".to_owned(),
        (None, Some(why)) => format!("CUT OFF: {why}"),
        (None, None) => "all of it, and all is well".to_owned(),
    };
    let notes: Vec<String> = notes.iter().map(|(what, n)| format!("{n} {what}")).collect();
    say(format_args!("{name}: {visited} states, depth {depth}, {} ({seconds:.1} s): {result}", notes.join(", ")));
    if let Some(finding) = finding {
        say(format_args!("{finding}"));
    }
}
