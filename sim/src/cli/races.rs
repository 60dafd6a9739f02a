//! `sim races`: the race catalogue as a table; and `sim replay R17`: one row's story.

use super::{FAILED, Subject, USAGE, WELL, complain, say};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use sim::page::page_of;
use sim::races::{Cell, Row, seed_that_meets, story, table};
use sprag_races::Design;
use std::path::Path;
use std::str::FromStr;

/// How many seeds are looked through for one that meets a row.
const SEEDS_MAX: u64 = 4_000;

/// How much.
#[derive(Args)]
pub(crate) struct Races {
    /// In so many seeds sprag's own driver is run, and in half as many the loop on tokio.
    #[arg(long, default_value_t = 400)]
    seeds: u64,
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

pub(crate) fn races(args: &Races) -> u8 {
    let rows = table(args.seeds);
    let red = rows.iter().filter(|row| row.sprag.verdict != "clean").count();
    if args.json {
        rows.iter().for_each(|row| say(format_args!("{}", object(row))));
        return if red == 0 { WELL } else { FAILED };
    }
    let width = |column: fn(&Row) -> &str| rows.iter().map(|row| column(row).len()).max().unwrap_or(0).max(8);
    let widths = [width(|row| row.name), width(|row| &row.original.verdict), width(|row| &row.polling.verdict)];
    let [name, original, polling] = widths;
    say(format_args!(
        "{:<4} {:<name$}  {:<original$}  {:<polling$}  {:<8}  explored: original, polling, sprag",
        "", "race", "original", "polling", "sprag"
    ));
    for row in &rows {
        let explored = [&row.original, &row.polling, &row.sprag].map(explored);
        say(format_args!(
            "{:<4} {:<name$}  {:<original$}  {:<polling$}  {:<8}  {}",
            row.id,
            row.name,
            verdict(&row.original),
            verdict(&row.polling),
            verdict(&row.sprag),
            explored.join(", ")
        ));
    }
    say(format_args!(
        "\nexecutions and states: all there are (to the first deadlock)\n\
         seeds: those that met it, of {}; behind a +, of {} with the loop on tokio and clients on turmoil's network",
        args.seeds,
        args.seeds / 2
    ));
    say(format_args!(
        "a story of each: sim replay R17 --design original (or polling, or sprag), with --html FILE as a page"
    ));
    if red > 0 {
        say(format_args!("{red} rows of sprag's column are not clean"));
        return FAILED;
    }
    WELL
}

fn verdict(cell: &Cell) -> &str {
    if cell.verdict.is_empty() { "-" } else { &cell.verdict }
}

fn explored(cell: &Cell) -> String {
    match (cell.explored, cell.networked) {
        (0, _) => "-".into(),
        (count, 0) => format!("{count} {}", cell.unit),
        (count, networked) => format!("{} + {networked} {}", count - networked, cell.unit),
    }
}

fn object(row: &Row) -> Value {
    let cell = |cell: &Cell| {
        let there = !cell.verdict.is_empty();
        let verdict = there.then_some(&cell.verdict);
        let (explored, networked) = (cell.explored, cell.networked);
        json!({ "verdict": verdict, "explored": explored, "unit": cell.unit, "networked": networked, "whole": cell.whole })
    };
    let (original, polling, sprag) = (cell(&row.original), cell(&row.polling), cell(&row.sprag));
    let replay = format!("sim replay {} --design original", row.id);
    json!({ "id": row.id, "name": row.name, "original": original, "polling": polling, "sprag": sprag, "replay": replay })
}

/// Tells a row's story in a design. Where that is the driver's own, it is that of a seed, which is given back.
pub(crate) fn replay(id: &str, whose: Whose, html: Option<&Path>, json: bool) -> Result<u8, u64> {
    let Some((verdict, story)) = story(id, whose.design()) else {
        let seed = (whose == Whose::Sprag).then(|| seed_that_meets(id, SEEDS_MAX)).flatten();
        if let Some(seed) = seed {
            return Err(seed);
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
