//! The race catalogue as a table: R0 to R29 in three designs.
//!
//! **Invariant.** What stands in the table is what was explored just now. The original and its polling are models
//! (`sprag-races`); sprag is itself: its source files under loom for R0 to R8, its driver in worlds that [`EVIDENCE`] names
//! for the others, of which a row must have met its own, or is not called clean.

use crate::chance::Script;
use crate::marks::{Mark, Marks};
use crate::{Keep, run};
use sprag_core::Bug;
use sprag_races::{Design, Step, steps, threads};
use std::collections::BTreeSet;

/// Where the driver meets a row of the catalogue, and what must be found there when it is broken.
pub struct Evidence {
    /// The row.
    pub id: &'static str,
    /// All of them must be seen in a seed for it to count.
    pub marks: &'static [Mark],
    /// The bug that turns the row red.
    pub bug: Bug,
}

/// One for each of R9 to R29.
pub const EVIDENCE: [Evidence; 21] = {
    use Mark as M;
    const fn row(id: &'static str, marks: &'static [Mark], bug: Bug) -> Evidence {
        Evidence { id, marks, bug }
    }
    [
        row("R9", &[M::SourceIsSlow, M::TimedOut], Bug::KillForgotten),
        row("R10", &[M::Stall, M::HeartbeatRead], Bug::StallHealthy),
        row("R11", &[M::EventIsLost], Bug::LookBeforeArm),
        row("R12", &[M::EventIsLate], Bug::LostWakeUp),
        row("R13", &[M::EventIsLost, M::SourceIsSlow], Bug::LookBeforeArm),
        row("R14", &[M::EventsOverflow, M::SourceIsSlow], Bug::LostWakeUp),
        row("R15", &[M::HeartbeatRead, M::Retried], Bug::BusyLoop),
        row("R16", &[M::SourceMalformed, M::SourceMended], Bug::TornRead),
        row("R17", &[M::RivalWrites, M::KnownKey], Bug::KeyForgotten),
        row("R18", &[M::RivalWrites, M::LeftoverFound], Bug::ProofSkipped),
        row("R19", &[M::RivalWrites, M::SourceMalformed], Bug::TornRead),
        row("R20", &[M::RivalWrites, M::SourceIsSlow], Bug::TimeForContent),
        row("R21", &[M::RivalWrites, M::CalendarBack], Bug::TimeForContent),
        row("R22", &[M::KilledInFlight, M::RetryAfterCrash], Bug::AckBeforeSync),
        row("R23", &[M::CutInFlight, M::PublishFails], Bug::PublishForgotten),
        row("R24", &[M::SourceMalformed, M::SourceMended, M::HeartbeatRead], Bug::ParseErrorEndsSource),
        row("R25", &[M::CalendarBack, M::SleptWithCommand], Bug::SleepCounts),
        row("R26", &[M::TimedOut, M::Exhausted], Bug::FailureUncounted),
        row("R27", &[M::LeftoverFound, M::LeftoverProved], Bug::ProofSkipped),
        row("R28", &[M::LeftoverFound, M::DyingTakesLong], Bug::DeathAssumed),
        row("R29", &[M::KilledAtWork, M::RetryAfterCrash], Bug::CancelForgotten),
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
    /// Of these, seeds of tier 2.
    pub networked: u64,
    /// Whether that was everything.
    pub whole: bool,
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
}

const NOTHING: Cell = Cell { verdict: String::new(), explored: 0, unit: "", networked: 0, whole: true };

/// The whole table; the driver is run in so many seeds.
pub fn table(seeds: u64) -> Vec<Row> {
    let met = Met::of(seeds);
    let mut rows = thread_rows();
    rows.extend(step_rows(&met));
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
        Row { id, name, original, polling, sprag }
    };
    (0..=8).map(row).collect()
}

fn step_rows(met: &Met) -> Vec<Row> {
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
    let row = |evidence: &Evidence| Row {
        id: evidence.id.into(),
        name: all.iter().find(|row| row.id == evidence.id).map_or("", |row| row.name),
        original: cell(evidence.id, Design::Original),
        polling: cell(evidence.id, Design::Polling),
        sprag: met.cell(evidence),
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

    fn cell(&self, evidence: &Evidence) -> Cell {
        let met = |of: bool| {
            let seen = self.marks.iter().filter(|(networked, _)| *networked == of);
            seen.filter(|(_, seen)| evidence.marks.iter().all(|mark| seen.has(*mark))).count() as u64
        };
        let of_watches = OF_WATCHES.contains(&evidence.id);
        let (alone, networked) = (met(false), if of_watches { met(true) } else { 0 });
        let verdict = match &self.failure {
            Some((seed, what)) => format!("{seed}: {what}"),
            None if alone == 0 || (of_watches && networked == 0) => "never met".into(),
            None => "clean".into(),
        };
        Cell { verdict, explored: alone + networked, unit: "seeds", networked, whole: false }
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

/// The first of so many seeds in which the driver meets a row.
pub fn seed_that_meets(id: &str, seeds: u64) -> Option<u64> {
    let evidence = EVIDENCE.iter().find(|evidence| evidence.id == id)?;
    (0..seeds).find(|seed| {
        let seen = run(*seed, Keep::Hash).marks;
        evidence.marks.iter().all(|mark| seen.has(*mark))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sprag_core::Role;

    #[test]
    fn thirty_rows_and_the_story_as_it_was_told_is_no_deadlock() {
        let rows = table(0);
        let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
        assert_eq!(ids, (0..30).map(|number| format!("R{number}")).collect::<Vec<_>>());
        assert_eq!((rows[0].original.verdict.as_str(), rows[0].polling.verdict.as_str()), ("clean", ""));
        for row in &rows[1..] {
            assert_ne!(row.original.verdict, "clean", "{}", row.id);
            assert!(!row.name.is_empty() && !row.polling.verdict.is_empty(), "{}", row.id);
        }
        assert!(rows[..9].iter().all(|row| row.sprag.verdict == "clean"));
        assert!(rows[9..].iter().all(|row| row.sprag.verdict == "never met"), "no seed was run");
    }

    #[test]
    fn a_failing_seed_and_one_that_meets_nothing_are_not_clean() {
        let seen = run(8, Keep::Hash).marks;
        let evidence = |marks| Evidence { id: "R9", marks, bug: Bug::KillForgotten };
        let met = |failure: Option<(String, String)>| Met { marks: vec![(false, seen)], failure };
        let has = Mark::ALL.iter().copied().find(|mark| seen.has(*mark)).unwrap();
        let lacks = Mark::ALL.iter().copied().find(|mark| !seen.has(*mark)).unwrap();
        let [has, lacks] = [has, lacks].map(|mark| -> &'static [Mark] { Box::leak(Box::new([mark])) });
        assert_eq!(met(None).cell(&evidence(has)).verdict, "clean");
        assert_eq!(met(None).cell(&evidence(lacks)).verdict, "never met");
        assert_eq!(met(Some(("seed 3".into(), "lost".into()))).cell(&evidence(has)).verdict, "seed 3: lost");
        let watches = |marks: Vec<(bool, Marks)>| {
            Met { marks, failure: None }.cell(&Evidence { id: "R11", ..evidence(has) }).verdict
        };
        assert_eq!(watches(vec![(false, seen)]), "never met", "it must be met in tier 2 too");
        assert_eq!(watches(vec![(false, seen), (true, seen)]), "clean");
    }

    #[test]
    fn every_row_has_a_bug_that_turns_it_red() {
        assert!(EVIDENCE.iter().all(|row| row.bug.role() == Role::Bug));
        let planted = |id: String| threads::scenarios().iter().any(|row| row.id == id && row.planted);
        assert!((0..=8).all(|number| planted(format!("R{number}"))));
    }
}
