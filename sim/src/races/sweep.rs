//! One story in every way: what may come at any moment comes at each.
//!
//! **Invariant.** Nothing is left out. What is moved comes at every place that it has in the story so far: the search goes on
//! until there is none left, and no limit cuts it. The story itself, with nothing moved, is told first. Where two things are
//! moved, the places of the second are those that it has with the first where that is.

use crate::places::{Actor, Site, What};
use crate::run::{Report, run};
use crate::tape::{Choice, Tape};
use crate::trace::{Keep, Line};

/// Later than this nothing is moved to: from 500 ms on nothing goes wrong in a calm world, and long before that it rests.
const LATE_US: u64 = 450_000;

/// What is moved.
#[derive(Clone, Copy, Debug)]
pub(super) enum Moved {
    /// A choice is made each time that it is asked for.
    Each {
        /// By whom.
        actor: Actor,
        /// Which.
        what: What,
        /// The choice.
        value: u64,
    },
    /// Somebody goes on at each moment: behind every step of a story in which that comes late.
    Moment(Moment),
    /// The first life of sprag, whose end is part of the story, ends at each of its steps.
    End,
}

/// When somebody goes on, and from when on that is counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Who.
    pub(super) actor: Actor,
    /// The choice that says so.
    pub(super) site: Site,
    /// Which of them.
    pub(super) index: u32,
    /// The choice is about what is longer than this, in microseconds.
    pub(super) least_us: u64,
    /// It is counted from the first line of the same actor that begins like this; from the beginning if empty.
    pub(super) after: &'static str,
    /// So long after that at most, in microseconds.
    pub(super) within_us: u64,
}

/// Tells a story in every way, until `visit` has seen enough; true if it has.
pub(super) fn sweep(story: &[Choice], moved: &[Moved], visit: &mut dyn FnMut(&[Choice], &Report) -> bool) -> bool {
    (!moved.is_empty() && visit(story, &told(story, Keep::Hash))) || tell(story, moved, visit)
}

fn told(story: &[Choice], keep: Keep) -> Report {
    run(story.iter().copied().collect::<Tape>(), keep)
}

fn tell(story: &[Choice], moved: &[Moved], visit: &mut dyn FnMut(&[Choice], &Report) -> bool) -> bool {
    let Some((first, rest)) = moved.split_first() else { return visit(story, &told(story, Keep::Hash)) };
    // None where there is no such place any more.
    let mut at_place = |choice: Choice, is_there: &dyn Fn(&Report) -> bool| {
        let story = with(story, choice);
        let report = told(&story, Keep::Hash);
        let there = report.failure.is_some() || is_there(&report);
        there.then(|| if rest.is_empty() { visit(&story, &report) } else { tell(&story, rest, visit) })
    };
    match *first {
        Moved::Each { actor, what, value } => {
            let choices = (0..).map(|index| Choice { actor, what, index, value });
            let is_asked = |choice: Choice| move |report: &Report| !report.unmet.contains(&choice);
            choices.map_while(|choice| at_place(choice, &is_asked(choice))).any(|enough| enough)
        }
        Moved::End => {
            (0..).map_while(|steps| at_place(end_after(steps), &|report| report.lives > 1)).any(|enough| enough)
        }
        Moved::Moment(moment) => {
            moments(story, &moment).into_iter().any(|us| tell(&with(story, moment.at(us)), rest, visit))
        }
    }
}

/// A story with one choice more.
fn with(story: &[Choice], choice: Choice) -> Vec<Choice> {
    story.iter().copied().chain([choice]).collect()
}

/// A life ends after so many steps.
fn end_after(steps: u64) -> Choice {
    Choice { actor: Actor::World, what: What::Is(Site::LifeSteps), index: 1, value: steps }
}

impl Moment {
    fn at(&self, us: u64) -> Choice {
        let value = us.saturating_sub(self.least_us);
        Choice { actor: self.actor, what: What::Is(self.site), index: self.index, value }
    }
}

/// Behind each step of a story in which it comes late.
fn moments(story: &[Choice], moment: &Moment) -> Vec<u64> {
    let lines = told(&with(story, moment.at(LATE_US)), Keep::Calls).lines;
    let is_first = |line: &&Line| line.actor == moment.actor && line.text.starts_with(moment.after);
    let since_us = match moment.after {
        "" => Some(0),
        _ => lines.iter().find(is_first).map(|line| line.at_us),
    };
    let Some(since_us) = since_us else { return Vec::new() };
    let until_us = since_us + moment.within_us.min(LATE_US);
    let within = lines.iter().map(|line| line.at_us).filter(|at_us| (since_us..until_us).contains(at_us));
    let mut moments: Vec<u64> = within.map(|at_us| (at_us + 1 - since_us).max(moment.least_us)).collect();
    moments.dedup();
    moments
}
