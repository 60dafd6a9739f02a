//! What happened, as a rolling hash and, for people, as lines.
//!
//! **Invariant.** Everything that happens in a run is noted once, in order; two runs are the same exactly when their
//! hashes are. A line names the line that caused it. Nothing in a line depends on anything but the seed.

use crate::chance::mix;
use crate::places::Actor;
use serde::Serialize;
use std::fmt;

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The driver was told something.
    Heard,
    /// The driver wants something done.
    Wants,
    /// As well, and it is a decision that people would want to know of.
    Decides,
    /// A thread of sprag did something.
    Did,
    /// A file system call of sprag.
    Call,
    /// An actor outside did something that changes what sprag should do.
    Act,
    /// A step on an actor's way to that.
    Step,
    /// Something went wrong.
    Fault,
    /// The world itself: crash, restart, end.
    World,
    /// What the world is like from the beginning.
    Setting,
}

impl Kind {
    /// Whether it is an *event*: a person who is told the story needs it. The rest is how it came about: acknowledgements,
    /// ticks, looks, system calls, steps on the way.
    pub fn is_event(self) -> bool {
        match self {
            Kind::Decides | Kind::Act | Kind::Fault | Kind::World => true,
            Kind::Heard | Kind::Wants | Kind::Did | Kind::Call | Kind::Step | Kind::Setting => false,
        }
    }
}

impl Kind {
    /// What stands before its text.
    pub fn mark(self) -> char {
        match self {
            Kind::Heard => '>',
            Kind::Wants => '<',
            Kind::Decides => '*',
            Kind::Act => '+',
            Kind::Did | Kind::Step => ' ',
            Kind::Call => '.',
            Kind::Fault => '!',
            Kind::World | Kind::Setting => '=',
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number, from 1.
    pub number: u32,
    /// When, in simulated microseconds.
    pub at_us: u64,
    /// By whom.
    pub actor: Actor,
    /// What kind of thing.
    pub kind: Kind,
    /// What.
    pub text: String,
    /// The number of the line that led to it; 0 for none.
    pub cause: u32,
}

/// How much of a run is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keep {
    /// The hash.
    Hash,
    /// What the world is like, and the events in it.
    Events,
    /// Every line but file system calls.
    Lines,
    /// Every line.
    Calls,
}

/// The trace of a run.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    count: u32,
    events: u32,
    heard: u32,
    keep: Keep,
    lines: Vec<Line>,
}

/// Hashes text as it is written, without keeping it.
struct Hasher(u64);

impl fmt::Write for Hasher {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let (words, rest) = text.as_bytes().as_chunks();
        for word in words {
            self.0 = mix(self.0 ^ u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let word = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
            self.0 = mix(self.0 ^ word);
        }
        Ok(())
    }
}

impl Trace {
    /// A trace that keeps as much as asked for.
    pub fn new(keep: Keep) -> Trace {
        Trace { hash: 0, count: 0, events: 0, heard: 0, keep, lines: Vec::new() }
    }

    /// Notes that something happened; says which line it is.
    pub fn note(&mut self, at_us: u64, actor: Actor, kind: Kind, cause: u32, text: fmt::Arguments<'_>) -> u32 {
        self.count += 1;
        self.events += u32::from(kind.is_event());
        self.heard += u32::from(kind == Kind::Heard);
        let mut hasher = Hasher(self.hash ^ mix(mix(actor.code()) ^ at_us) ^ u64::from(cause) << 8 ^ kind as u64);
        // Writing into a hash cannot fail.
        let _ = fmt::write(&mut hasher, text);
        self.hash = hasher.0;
        let kept = match kind {
            Kind::Call => self.keep >= Keep::Calls,
            Kind::Heard | Kind::Wants | Kind::Did | Kind::Step => self.keep >= Keep::Lines,
            Kind::Decides | Kind::Act | Kind::Fault | Kind::World | Kind::Setting => self.keep >= Keep::Events,
        };
        if kept {
            self.lines.push(Line { number: self.count, at_us, actor, kind, text: text.to_string(), cause });
        }
        self.count
    }

    /// The hash of everything so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many things happened.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// How many of them were events.
    pub fn events(&self) -> u32 {
        self.events
    }

    /// How many of them the driver was told.
    pub fn heard(&self) -> u32 {
        self.heard
    }

    /// Takes the lines that were kept.
    pub fn take_lines(&mut self) -> Vec<Line> {
        std::mem::take(&mut self.lines)
    }
}

impl Line {
    /// As JSON, for programs.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "number": self.number, "at_us": self.at_us, "actor": self.actor.to_string(), "kind": self.kind,
            "text": self.text, "cause": self.cause, "line": self.to_string(),
        })
    }
}

/// The letter of a source, in its file's name and its items' keys.
pub fn name_of(source: u8) -> char {
    char::from(b'a' + source)
}

impl fmt::Display for Line {
    /// One line of the timeline: number, simulated seconds, actor, what happened, and the number of the cause.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (s, us) = (self.at_us / 1_000_000, self.at_us % 1_000_000);
        let mark = self.kind.mark();
        let Line { number, actor, text, .. } = self;
        write!(f, "{number:>6} {s:>4}.{us:06}  {actor:<10} {mark} {text}")?;
        if self.cause > 0 { write!(f, "  [{}]", self.cause) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_line_is_in_the_hash() {
        let hash = |at_us: u64, actor: Actor, kind: Kind, cause: u32, text: &str| {
            let mut trace = Trace::new(Keep::Hash);
            trace.note(at_us, actor, kind, cause, format_args!("{text}"));
            trace.hash()
        };
        let hashes = [
            hash(1, Actor::World, Kind::Act, 0, "it rains"),
            hash(2, Actor::World, Kind::Act, 0, "it rains"),
            hash(1, Actor::Disk, Kind::Act, 0, "it rains"),
            hash(1, Actor::Item(0, 1), Kind::Act, 0, "it rains"),
            hash(1, Actor::World, Kind::Step, 0, "it rains"),
            hash(1, Actor::World, Kind::Act, 1, "it rains"),
            hash(1, Actor::World, Kind::Act, 0, "it snows"),
        ];
        let different: std::collections::BTreeSet<u64> = hashes.into_iter().collect();
        assert_eq!(different.len(), hashes.len());
    }
}
