//! The race catalogue as a table: R0 to R29 in three designs.
//!
//! **Invariant.** What stands in the table is what was explored just now. The original and its polling are models
//! (`sprag-races`); sprag is itself: its source files under loom for R0 to R8, its driver for the others: in every world of a
//! row's [`cases`], and in seeds, some of which meet the row's circumstances among everything else.

pub mod cases;
mod sweep;

use crate::chance::Script;
use crate::marks::{Mark, Marks};
use crate::{Keep, Tape, run};
use cases::{CASES, Case, Seen};
use sprag_races::{Design, Step, steps, threads};
use std::collections::BTreeSet;

/// Where seeds meet a row of the catalogue.
pub struct Evidence {
    /// The row.
    pub id: &'static str,
    /// All of them must be seen in a seed for it to count.
    pub marks: &'static [Mark],
}

/// One for each of R9 to R29.
pub const EVIDENCE: [Evidence; 21] = {
    use Mark as M;
    const fn row(id: &'static str, marks: &'static [Mark]) -> Evidence {
        Evidence { id, marks }
    }
    [
        row("R9", &[M::SourceIsSlow, M::TimedOut]),
        row("R10", &[M::Stall, M::HeartbeatRead]),
        row("R11", &[M::EventIsLost]),
        row("R12", &[M::EventIsLate]),
        row("R13", &[M::EventIsLost, M::SourceIsSlow]),
        row("R14", &[M::EventsOverflow, M::SourceIsSlow]),
        row("R15", &[M::HeartbeatRead, M::Retried]),
        row("R16", &[M::SourceMalformed, M::SourceMended]),
        row("R17", &[M::RivalWrites, M::KnownKey]),
        row("R18", &[M::RivalWrites, M::LeftoverFound]),
        row("R19", &[M::RivalWrites, M::SourceMalformed]),
        row("R20", &[M::RivalWrites, M::SourceIsSlow]),
        row("R21", &[M::RivalWrites, M::CalendarBack]),
        row("R22", &[M::KilledInFlight, M::RetryAfterCrash]),
        row("R23", &[M::CutInFlight, M::PublishFails]),
        row("R24", &[M::SourceMalformed, M::SourceMended, M::HeartbeatRead]),
        row("R25", &[M::CalendarBack, M::SleptWithCommand]),
        row("R26", &[M::TimedOut, M::Exhausted]),
        row("R27", &[M::LeftoverFound, M::LeftoverProved]),
        row("R28", &[M::LeftoverFound, M::DyingTakesLong]),
        row("R29", &[M::KilledAtWork, M::RetryAfterCrash]),
    ]
};

/// The rows that are about watching files: they are met on the network too, by the loop on tokio as it ships.
pub const OF_WATCHES: [&str; 8] = ["R11", "R12", "R13", "R14", "R15", "R16", "R20", "R21"];

/// What came of a row in a design.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// `clean`, or what can come of it; `-` where there is nothing of the kind.
    pub verdict: String,
    /// How much was explored.
    pub explored: u64,
    /// In what.
    pub unit: &'static str,
    /// And in so many seeds.
    pub seeds: u64,
    /// Of these, in so many of tier 2.
    pub networked: u64,
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// `R17`.
    pub id: String,
    /// Its name.
    pub name: &'static str,
    /// In the original's design.
    pub original: Cell,
    /// With polling.
    pub polling: Cell,
    /// In sprag's.
    pub sprag: Cell,
    /// Seeds met its circumstances too, and where it is about watching, on the network as well. R0 to R8 need none.
    pub met: bool,
}

const NOTHING: Cell = Cell { verdict: String::new(), explored: 0, unit: "", seeds: 0, networked: 0 };

/// The whole table: what was seen in each of [`CASES`], and the driver run in so many seeds.
pub fn table(seen: &[Seen], seeds: u64) -> Vec<Row> {
    let met = Met::of(seeds);
    let mut rows = thread_rows();
    rows.extend(step_rows(seen, &met));
    rows
}

fn thread_rows() -> Vec<Row> {
    let explored: Vec<_> = threads::scenarios().into_iter().map(|row| (row.explore(), row)).collect();
    let cell = |id: &str, design| {
        let of = explored.iter().filter(|(_, row)| row.id == id && row.design == design && !row.planted);
        of.fold(NOTHING, |cell, (explored, row)| {
            let worst = match (&explored.verdict, row.expected) {
                (threads::Verdict::Deadlock { .. }, threads::Expected::Stall(_)) => "stall".into(),
                (threads::Verdict::Deadlock { .. }, _) => "deadlock".into(),
                (threads::Verdict::Broken(what), _) => what.clone(),
                (threads::Verdict::Clean, _) => "clean".into(),
            };
            // The first row of a design is the story; the others are its variants and controls.
            let verdict = if cell.verdict.is_empty() { worst } else { cell.verdict };
            let executions = cell.explored + explored.executions as u64;
            Cell { verdict, explored: executions, unit: "executions", ..NOTHING }
        })
    };
    let row = |number: u32| {
        let id = format!("R{number}");
        let name = explored.iter().find(|(_, row)| row.id == id).map_or("", |(_, row)| row.name);
        let [original, polling, sprag] =
            [Design::Original, Design::Polling, Design::Sprag].map(|design| cell(&id, design));
        Row { id, name, original, polling, sprag, met: true }
    };
    (0..=8).map(row).collect()
}

fn step_rows(seen: &[Seen], met: &Met) -> Vec<Row> {
    let all = steps::scenarios();
    let cell = |id: &str, design| {
        let of: Vec<_> = all.iter().filter(|row| row.id == id && row.design == design).collect();
        let (mut harms, mut states) = (BTreeSet::new(), 0);
        for row in &of {
            let explored = row.explore();
            harms.extend(explored.harms.keys().copied());
            states += explored.states as u64;
        }
        let words: Vec<&str> = harms.into_iter().map(steps::Harm::word).collect();
        let verdict = match (of.is_empty(), words.is_empty()) {
            (true, _) => String::new(),
            (false, true) => "clean".into(),
            (false, false) => words.join(", "),
        };
        Cell { verdict, explored: states, unit: "states", ..NOTHING }
    };
    let row = |evidence: &Evidence| {
        let sprag = met.cell(evidence, seen);
        Row {
            id: evidence.id.into(),
            name: all.iter().find(|row| row.id == evidence.id).map_or("", |row| row.name),
            original: cell(evidence.id, Design::Original),
            polling: cell(evidence.id, Design::Polling),
            met: sprag.seeds > sprag.networked && (sprag.networked > 0 || !OF_WATCHES.contains(&evidence.id)),
            sprag,
        }
    };
    EVIDENCE.iter().map(row).collect()
}

/// What the driver met in some seeds, and in how many of them on the network.
struct Met {
    marks: Vec<(bool, Marks)>,
    failure: Option<(String, String)>,
}

impl Met {
    /// Of so many seeds, and half as many in tier 2.
    fn of(seeds: u64) -> Met {
        let mut met = Met { marks: Vec::new(), failure: None };
        for seed in 0..seeds {
            met.look(false, seed);
        }
        for seed in 0..seeds / 2 {
            met.look(true, seed);
        }
        met
    }

    fn look(&mut self, networked: bool, seed: u64) {
        let script = if networked { Script::Networked(seed) } else { Script::Seed(seed) };
        let report = run(script, Keep::Hash);
        self.marks.push((networked, report.marks));
        if let Some(failure) = report.failure {
            let tier = if networked { " of tier 2" } else { "" };
            self.failure.get_or_insert((format!("seed {seed}{tier}"), failure.to_string()));
        }
    }

    fn cell(&self, evidence: &Evidence, seen: &[Seen]) -> Cell {
        let met = |of: bool| {
            let seen = self.marks.iter().filter(|(networked, _)| *networked == of);
            seen.filter(|(_, seen)| evidence.marks.iter().all(|mark| seen.has(*mark))).count() as u64
        };
        let (alone, networked) = (met(false), if OF_WATCHES.contains(&evidence.id) { met(true) } else { 0 });
        let of_row: Vec<&Seen> =
            CASES.iter().zip(seen).filter(|(case, _)| case.id == evidence.id).map(|(_, seen)| seen).collect();
        let worlds = of_row.iter().map(|seen| seen.worlds).sum();
        let red = of_row.iter().find_map(|seen| seen.red.as_ref());
        let verdict = match (red, &self.failure) {
            (Some((_, failure)), _) => failure.to_string(),
            (None, Some((seed, what))) => format!("{seed}: {what}"),
            (None, None) if worlds == 0 => "never told".into(),
            (None, None) => "clean".into(),
        };
        Cell { verdict, explored: worlds, unit: "worlds", seeds: alone + networked, networked }
    }
}

/// A way in which a row comes to its harm in a design; or goes well where there is none.
pub fn story(id: &str, design: Design) -> Option<(String, Vec<Step>)> {
    if let Some(row) = threads::scenarios().into_iter().find(|row| row.id == id && row.design == design) {
        let explored = row.explore();
        let verdict = match explored.verdict {
            threads::Verdict::Clean => format!("clean in {} executions; this is the last", explored.executions),
            threads::Verdict::Deadlock { .. } => format!("nobody goes on any more (execution {})", explored.executions),
            threads::Verdict::Broken(what) => what,
        };
        return Some((verdict, explored.story));
    }
    let row = steps::scenarios().into_iter().filter(|row| row.id == id && row.design == design);
    let row = row.max_by_key(|row| row.expected.is_some())?;
    let mut explored = row.explore();
    match row.expected.and_then(|harm| explored.harms.remove(&harm).map(|story| (harm, story))) {
        Some((harm, story)) => Some((harm.word().into(), story)),
        None => Some((format!("clean in all {} states; one way through", explored.states), explored.well?)),
    }
}

/// A world in which the driver lives through a row: the first that is not clean, if there is one, else one in the middle.
pub fn world_of(id: &str) -> Option<Tape> {
    let cases: Vec<&Case> = CASES.iter().filter(|case| case.id == id).collect();
    let red = cases.iter().find_map(|case| case.explore().red);
    red.map(|(tape, _)| tape).or_else(|| cases.first().map(|case| case.middle()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sprag_core::Role;

    #[test]
    fn thirty_rows_and_the_story_as_it_was_told_is_no_deadlock() {
        let rows = table(&[], 0);
        let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
        assert_eq!(ids, (0..30).map(|number| format!("R{number}")).collect::<Vec<_>>());
        assert_eq!((rows[0].original.verdict.as_str(), rows[0].polling.verdict.as_str()), ("clean", ""));
        for row in &rows[1..] {
            assert_ne!(row.original.verdict, "clean", "{}", row.id);
            assert!(!row.name.is_empty() && !row.polling.verdict.is_empty(), "{}", row.id);
        }
        assert!(rows[..9].iter().all(|row| row.sprag.verdict == "clean"));
        assert!(rows[9..].iter().all(|row| row.sprag.verdict == "never told" && !row.met), "nothing was run");
    }

    #[test]
    fn a_failing_world_a_failing_seed_and_a_row_that_is_never_told_are_not_clean() {
        let failure = crate::Check::BecomesIdle.failed("is not idle");
        let seen: Vec<Seen> = CASES.iter().map(|_| Seen { worlds: 3, red: None }).collect();
        let red = |id: &str| {
            let red = |case: &Case| (case.id == id).then(|| (Tape::default(), failure.clone()));
            CASES.iter().map(|case| Seen { worlds: 3, red: red(case) }).collect::<Vec<_>>()
        };
        let verdict = |failure, seen: &[Seen]| {
            let met = Met { marks: Vec::new(), failure };
            step_rows(seen, &met).swap_remove(0).sprag.verdict
        };
        assert_eq!(verdict(None, &seen), "clean");
        assert_eq!(verdict(None, &[]), "never told", "no case was looked at");
        assert_eq!(verdict(None, &red("R9")), failure.to_string());
        assert_eq!(verdict(None, &red("R11")), "clean");
        assert_eq!(verdict(Some(("seed 3".into(), "lost".into())), &seen), "seed 3: lost");
    }

    #[test]
    fn a_row_is_met_by_a_seed_with_all_its_marks_and_on_the_network_if_it_is_about_watching() {
        let with = |marks: &[Mark]| {
            let mut all = Marks::default();
            marks.iter().for_each(|mark| all.set(*mark));
            all
        };
        let met = |id: &str, marks: Vec<(bool, Marks)>| {
            let rows = step_rows(&[], &Met { marks, failure: None });
            rows.into_iter().find(|row| row.id == id).unwrap().met
        };
        let (r9, r11) = (with(&[Mark::SourceIsSlow, Mark::TimedOut]), with(&[Mark::EventIsLost]));
        assert!(met("R9", vec![(false, r9)]));
        assert!(!met("R9", vec![(false, with(&[Mark::SourceIsSlow])), (false, with(&[Mark::TimedOut]))]));
        assert!(!met("R11", vec![(false, r11)]), "it must be met in tier 2 too");
        assert!(met("R11", vec![(false, r11), (true, r11)]));
        assert!(!met("R11", vec![(true, r11)]));
    }

    #[test]
    fn every_row_has_a_bug_that_turns_it_red() {
        for evidence in &EVIDENCE {
            let cases: Vec<_> = CASES.iter().filter(|case| case.id == evidence.id).collect();
            assert!(!cases.is_empty(), "{}", evidence.id);
            assert!(cases.iter().all(|case| case.bug.role() == Role::Bug));
        }
        let planted = |id: String| threads::scenarios().iter().any(|row| row.id == id && row.planted);
        assert!((0..=8).all(|number| planted(format!("R{number}"))));
    }

    /// The smaller ones: `sim races` looks at all.
    #[test]
    fn small_cases_are_clean_in_every_world() {
        for id in ["R9", "R12", "R25"] {
            for case in CASES.iter().filter(|case| case.id == id) {
                let seen = case.explore();
                assert_eq!(seen.red, None, "{id}: {}", case.about);
                assert!(seen.worlds > 1, "{id}: nothing was moved");
            }
        }
    }
}
