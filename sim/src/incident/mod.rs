//! An incident run again: the Machine on the inputs that production's flight recorder wrote down.
//!
//! **Invariant.** The Machine that runs here is the one that ships, on the folder as it is, which is only read. It begins as the
//! journal's records up to the segment's beginning and what the segment says beside; every record that it decides is held
//! against the journal, and at each further segment the whole of it against what was written down there. The first thing
//! that is not the same is named; what is missing or damaged is said, and never passed over as the same.

mod facts;
mod run;
mod story;
mod why;
mod words;

pub use facts::Facts;
pub use run::{Checked, Difference, On, Seen, Until, What};
pub use story::{Story, Told};
pub use why::why;

use sprag_core::Now;
use sprag_journal::fs::Fs;
use sprag_runtime::flight::{self, Head, Segment};
use std::path::Path;

/// A recording, and the journal that it is held against.
#[derive(Debug)]
pub struct Incident<F: Fs> {
    facts: Facts<F>,
    lives: Vec<Life>,
}

/// What was recorded of one life of sprag, without a gap between its segments.
#[derive(Clone, Debug)]
pub struct Life {
    segments: Vec<Segment>,
    /// What of it cannot be used, and why.
    pub lost: Vec<String>,
}

impl<F: Fs> Incident<F> {
    /// Reads a state folder, or a copy of one.
    ///
    /// # Errors
    /// There is no recording, or no journal that can be read.
    pub fn read(fs: &F, state: &Path) -> Result<Incident<F>, String> {
        let segments = flight::segments(fs, state)
            .map_err(|error| format!("no recording can be read in {}: {error}", state.join("flight").display()))?;
        Ok(Incident { facts: Facts::read(fs, state)?, lives: lives(segments) })
    }

    /// The lives, in order.
    pub fn lives(&self) -> &[Life] {
        &self.lives
    }

    /// Runs one life again. `on` is shown everything that happens, with the Machine as it is then, and says whether to go on.
    pub fn replay(&self, life: usize, on: &mut On<'_>) -> Checked {
        let next = self.lives.get(life + 1).and_then(Life::opened);
        run::replay(&self.facts, &self.lives[life], next, on)
    }
}

/// A life of which there may be a recording.
#[derive(Clone, Copy, Debug)]
pub struct Recorded {
    /// Which life of the journal's writer it is.
    pub epoch: u64,
    /// When it opened its journal: a life before it that wrote nothing bore the same epoch.
    pub opened: Now,
    /// The flight recorder could write everything so far.
    pub whole: bool,
}

/// Runs a life again, if it is the last one on record: from its beginning, and from its last segment alone. Where it is
/// recorded whole nothing of it may be missing: whatever is in the journal was recorded before.
///
/// Says how many segments there were.
///
/// # Errors
/// What is not the same, or not there.
pub fn judge<F: Fs>(fs: &F, state: &Path, of: Recorded) -> Result<usize, String> {
    let Ok(segments) = flight::last_life(fs, state) else { return Ok(0) };
    let is_it = |life: &Life| life.epoch() == Some(of.epoch) && life.opened_at().is_none_or(|at| at == of.opened);
    let Some(life) = lives(segments).pop().filter(is_it) else { return Ok(0) };
    let facts = Facts::read(fs, state)?;
    let segments = life.segments.len();
    let last = life.segments.last().filter(|_| life.segments.len() > 1).cloned();
    let alone = last.map(|segment| Life { segments: vec![segment], lost: Vec::new() });
    for life in [Some(life), alone].into_iter().flatten() {
        let checked = run::replay(&facts, &life, None, &mut |_, _| true);
        match checked.difference {
            Some(difference) => return Err(difference.to_string()),
            None if of.whole && checked.ahead > 0 => {
                return Err(format!("the journal goes on for {} records behind what was recorded", checked.ahead));
            }
            None => {}
        }
    }
    Ok(segments)
}

impl Life {
    /// Which life of the journal's writer it is, as far as that is known.
    pub fn epoch(&self) -> Option<u64> {
        self.segments.iter().find_map(|segment| segment.head.as_ref()).map(|head| head.epoch)
    }

    /// How many inputs are on record.
    pub fn inputs(&self) -> u64 {
        self.segments.iter().map(Segment::inputs).sum()
    }

    /// The record that it found as the last one in the journal.
    fn opened(&self) -> Option<u64> {
        Some(self.beginning()?.seq.0)
    }

    /// When it opened its journal.
    fn opened_at(&self) -> Option<Now> {
        Some(self.beginning()?.now)
    }

    /// The head of its first segment, if that is still there.
    fn beginning(&self) -> Option<&Head> {
        self.segments.first()?.head.as_ref().filter(|head| head.opens)
    }
}

/// Puts the segments of a life together.
fn lives(segments: Vec<Segment>) -> Vec<Life> {
    let mut lives: Vec<Life> = Vec::new();
    let mut last = 0;
    for mut segment in segments {
        let what = segment.damage.take().map(|what| format!("segment {}, {what}", segment.number));
        let goes_on = segment.head.as_ref().is_some_and(|head| !head.opens);
        let epoch = segment.head.as_ref().map(|head| head.epoch);
        match lives.last_mut() {
            Some(life) if goes_on && (life.epoch().is_none() || life.epoch() == epoch) => {
                life.lost.extend(what);
                let before = life.segments.last().map(Segment::inputs);
                let follows = segment.head.as_ref().and_then(|head| head.follows);
                if segment.number != last + 1 {
                    life.lost.push(format!("segments {} to {} are missing", last + 1, segment.number - 1));
                } else if follows.is_none() {
                    life.lost.push(format!("before segment {} something could not be recorded", segment.number));
                } else if follows != before {
                    life.lost.push(format!("the end of segment {last} is missing"));
                }
                last = segment.number;
                life.segments.push(segment);
            }
            Some(_) | None => {
                last = segment.number;
                lives.push(Life { segments: vec![segment], lost: what.into_iter().collect() });
            }
        }
    }
    lives
}
