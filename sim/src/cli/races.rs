//! `sim races`: the race catalogue as a table; and `sim replay R17`: one row's story.

use super::spread::spread;
use super::{FAILED, How, Subject, USAGE, WELL, complain, say};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use sim::page::page_of;
use sim::races::cases::{CASES, Case, Seen};
use sim::races::{Cell, Row, story, table, world_of};
use sprag_races::Design;
use std::path::Path;
use std::str::FromStr;

/// How much.
#[derive(Args)]
pub(crate) struct Races {
    /// Beside every world of each row, in so many seeds sprag's own driver is run, and in half as many the loop on tokio.
    #[arg(long, default_value_t = 400)]
    seeds: u64,
    /// Fail if no seed meets the circumstances of a row; takes some hundreds.
    #[arg(long)]
    met: bool,
    /// Threads; as many as there are processors if not given.
    #[arg(long)]
    jobs: Option<usize>,
    /// Plant into each row of sprag's column the bug that must turn it red, and look at nothing else.
    #[cfg(feature = "planted")]
    #[arg(long, conflicts_with = "seeds")]
    planted: bool,
    /// JSON, one object a line.
    #[arg(long)]
    json: bool,
}

/// Whose design.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Whose {
    /// A watcher's threads that wait for an event loop.
    Original,
    /// The loop looks at the files every two seconds.
    Polling,
    /// What ships.
    Sprag,
}

impl Whose {
    fn design(self) -> Design {
        match self {
            Whose::Original => Design::Original,
            Whose::Polling => Design::Polling,
            Whose::Sprag => Design::Sprag,
        }
    }
}

/// What can be replayed.
#[derive(Clone)]
pub(crate) enum Tale {
    Of(Subject),
    /// A row of the race catalogue.
    Race(String),
}

impl FromStr for Tale {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Tale, Self::Err> {
        let is_race = text.strip_prefix('R').is_some_and(|number| number.parse::<u8>().is_ok());
        if is_race { Ok(Tale::Race(text.into())) } else { text.parse().map(Tale::Of) }
    }
}

/// Looks at all cases, in so many threads, and gives back what was seen in their order.
fn all(jobs: usize, look: impl Fn(&Case) -> Seen + Sync) -> Vec<Seen> {
    let mut all = Vec::new();
    spread(jobs, CASES.len(), |place| look(&CASES[place]), |seen| all.push(seen));
    all
}

/// Each case with its bug: in how many worlds it turns red.
#[cfg(feature = "planted")]
fn planted(args: &Races) -> u8 {
    let seen = all(super::jobs(args.jobs), |case| {
        sprag_core::plant(Some(case.bug));
        case.explore()
    });
    let mut missed = 0;
    for (case, seen) in CASES.iter().zip(&seen) {
        let (bug, worlds, red) = (format!("{:?}", case.bug), seen.worlds, &seen.red);
        missed += usize::from(red.is_none());
        let found = red.as_ref().map_or_else(|| "NOT RED".into(), |(_, failure)| failure.check.to_string());
        if args.json {
            let red = red.as_ref().map(|(_, failure)| failure);
            say(format_args!(
                "{}",
                json!({ "id": case.id, "about": case.about, "planted": bug, "worlds": worlds, "red": red })
            ));
        } else {
            say(format_args!("{:<4} {bug:<22} {worlds:>6} worlds  {found:<16} {}", case.id, case.about));
        }
    }
    if missed > 0 { FAILED } else { WELL }
}

pub(crate) fn races(args: &Races) -> u8 {
    #[cfg(feature = "planted")]
    if args.planted {
        return planted(args);
    }
    let seen = all(super::jobs(args.jobs), Case::explore);
    let rows = table(&seen, args.seeds);
    let red = rows.iter().filter(|row| row.sprag.verdict != "clean").count();
    let unmet: Vec<&str> = rows.iter().filter(|row| !row.met).map(|row| &*row.id).collect();
    let verdict = if red > 0 || (args.met && !unmet.is_empty()) { FAILED } else { WELL };
    if args.json {
        rows.iter().for_each(|row| say(format_args!("{}", object(row))));
        return verdict;
    }
    print(&rows, args.seeds);
    if !unmet.is_empty() {
        say(format_args!("no seed met: {} (with --met that fails)", unmet.join(", ")));
    }
    if red > 0 {
        say(format_args!("{red} rows of sprag's column are not clean"));
    }
    verdict
}

fn print(rows: &[Row], seeds: u64) {
    let width = |column: fn(&Row) -> &str| rows.iter().map(|row| column(row).len()).max().unwrap_or(0).max(8);
    let widths = [width(|row| row.name), width(|row| &row.original.verdict), width(|row| &row.polling.verdict)];
    let [name, original, polling] = widths;
    say(format_args!(
        "{:<4} {:<name$}  {:<original$}  {:<polling$}  {:<8}  explored: original, polling, sprag",
        "", "race", "original", "polling", "sprag"
    ));
    for row in rows {
        let explored = [&row.original, &row.polling, &row.sprag].map(explored);
        say(format_args!(
            "{:<4} {:<name$}  {:<original$}  {:<polling$}  {:<8}  {}",
            row.id,
            row.name,
            word(&row.original),
            word(&row.polling),
            word(&row.sprag),
            explored.join(", ")
        ));
    }
    say(format_args!(
        "\nexecutions, states, worlds: all there are (to the first deadlock)\n\
         seeds: those that met it too, of {}; of {} with the loop on tokio and clients on turmoil's network",
        seeds,
        seeds / 2
    ));
    say(format_args!(
        "a story of each: sim replay R17 --design original (or polling, or sprag), with --html FILE as a page"
    ));
}

fn word(cell: &Cell) -> &str {
    if cell.verdict.is_empty() { "-" } else { &cell.verdict }
}

fn explored(cell: &Cell) -> String {
    match (cell.explored, cell.seeds, cell.networked) {
        (0, ..) => "-".into(),
        (count, 0, _) => format!("{count} {}", cell.unit),
        (count, seeds, 0) => format!("{count} {}, {seeds} seeds", cell.unit),
        (count, seeds, networked) => format!("{count} {}, {} + {networked} seeds", cell.unit, seeds - networked),
    }
}

fn object(row: &Row) -> Value {
    let cell = |cell: &Cell| {
        let there = !cell.verdict.is_empty();
        let verdict = there.then_some(&cell.verdict);
        let Cell { explored, unit, seeds, networked, .. } = cell;
        json!({ "verdict": verdict, "explored": explored, "unit": unit, "seeds": seeds, "networked": networked })
    };
    let (original, polling, sprag) = (cell(&row.original), cell(&row.polling), cell(&row.sprag));
    let replay = format!("sim replay {} --design original", row.id);
    json!({
        "id": row.id, "name": row.name, "original": original, "polling": polling, "sprag": sprag, "met": row.met,
        "replay": replay,
    })
}

/// Tells a row's story in a design. Where that is the driver's own, it is that of a world, which is given back.
pub(crate) fn replay(id: &str, whose: Whose, html: Option<&Path>, how: &How) -> Result<u8, Subject> {
    let json = how.json;
    let Some((verdict, story)) = story(id, whose.design()) else {
        how.plant();
        if let Some(tape) = (whose == Whose::Sprag).then(|| world_of(id)).flatten() {
            return Err(Subject::Race(id.to_owned(), tape));
        }
        complain(json, format_args!("{id}: not in that design, or no such row; `sim races` lists them"));
        return Ok(USAGE);
    };
    let lines: Vec<Value> = (1..)
        .zip(&story)
        .map(|(number, step): (u32, _)| {
            let line = format!("{number:>4}  {:<16} {}", step.actor, step.what);
            json!({
                "number": number, "at_us": number * 1_000_000, "actor": step.actor, "kind": "act", "text": step.what,
                "cause": number - 1, "line": line,
            })
        })
        .collect();
    if let Some(path) = html {
        let clean = verdict.starts_with("clean");
        if let Err(error) = std::fs::write(path, page_of(&format!("{id}: {verdict}"), !clean, lines)) {
            complain(json, format_args!("{}: {error}", path.display()));
            return Ok(USAGE);
        }
    } else {
        for line in &lines {
            match &line["line"] {
                Value::String(text) if !json => say(format_args!("{text}")),
                _ => say(format_args!("{line}")),
            }
        }
    }
    if json {
        say(format_args!("{}", json!({ "id": id, "verdict": verdict })));
    } else {
        say(format_args!("{id}: {verdict}"));
    }
    Ok(WELL)
}
