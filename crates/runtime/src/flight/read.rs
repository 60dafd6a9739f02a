//! Reading a recording: what is whole, and what is wrong behind it.
//!
//! **Invariant.** A line is believed when the hash behind it holds. What is not believed is not handed out, and why it is not is
//! said; reading is total over any bytes.

use super::recorder::{dir, sum};
use super::{Head, Line, VERSION, name, number};
use sprag_core::Now;
use sprag_core::{Input, Mono, Wall};
use sprag_journal::fs::{Fs, read_all};
use std::io;
use std::path::Path;

/// A segment is never longer: twice what the largest recording has, in bytes.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// One segment, as far as it is whole.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Its number.
    pub number: u32,
    /// Where it begins; none when not even that can be read.
    pub head: Option<Head>,
    /// What came then, in order: a queue's name, or an input and when.
    pub events: Vec<Event>,
    /// What is wrong with what follows.
    pub damage: Option<String>,
}

/// Something that was recorded.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A queue got the next number.
    Queue(String),
    /// The Machine was given this.
    In(Now, Input),
}

/// Every segment in the state folder, in order.
///
/// # Errors
/// The folder or a file in it cannot be read.
pub fn segments<F: Fs>(fs: &F, state: &Path) -> io::Result<Vec<Segment>> {
    backwards(fs, state, |_| false)
}

/// The segments of the last life, as far as they are there, and none of a life before it.
///
/// # Errors
/// The folder or a file in it cannot be read.
pub fn last_life<F: Fs>(fs: &F, state: &Path) -> io::Result<Vec<Segment>> {
    backwards(fs, state, |segment| segment.head.as_ref().is_some_and(|head| head.opens))
}

/// Reads the newest segment first, and no further than one that is enough; gives them in order.
fn backwards<F: Fs>(fs: &F, state: &Path, enough: impl Fn(&Segment) -> bool) -> io::Result<Vec<Segment>> {
    let dir = dir(state);
    let mut numbers: Vec<u32> = fs.list(&dir)?.iter().filter_map(|file| number(file)).collect();
    numbers.sort_unstable();
    let mut segments = Vec::new();
    for number in numbers.into_iter().rev() {
        let segment = read(number, &read_all(fs, &dir.join(name(number)), SEGMENT_BYTES_MAX)?);
        let done = enough(&segment);
        segments.push(segment);
        if done {
            break;
        }
    }
    segments.reverse();
    Ok(segments)
}

fn read(number: u32, bytes: &[u8]) -> Segment {
    let mut segment = Segment { number, head: None, events: Vec::new(), damage: None };
    let (mut from, mut before, mut now) = (0, [0; 8], Now::default());
    while from < bytes.len() {
        match part(&bytes[from..], before) {
            Ok((lines, len, after)) => {
                for line in lines {
                    if let Err(what) = segment.take(line, &mut now) {
                        segment.damage = Some(format!("at byte {from}: {what}"));
                        return segment;
                    }
                }
                (from, before) = (from + len, after);
            }
            Err(what) => {
                segment.damage = Some(format!("at byte {from}: {what}"));
                return segment;
            }
        }
    }
    if segment.head.is_none() && segment.damage.is_none() {
        segment.damage = Some("it is empty".into());
    }
    segment
}

impl Segment {
    /// How many inputs it holds.
    pub fn inputs(&self) -> u64 {
        self.events.iter().filter(|event| matches!(event, Event::In(..))).count() as u64
    }

    fn take(&mut self, line: Line, now: &mut Now) -> Result<(), String> {
        match (line, &self.head) {
            (Line::Flight(head), None) if head.version != VERSION => {
                return Err(format!("version {} of the format is not known here", head.version));
            }
            (Line::Flight(head), None) if head.segment != self.number => {
                return Err(format!("it says that it is segment {}", head.segment));
            }
            (Line::Flight(head), None) => {
                *now = head.now;
                self.head = Some(*head);
            }
            (Line::Flight(_), Some(_)) => return Err("a second beginning".into()),
            (Line::Now(..) | Line::Queue(_) | Line::In(_), None) => return Err("no beginning".into()),
            (Line::Now(mono, wall), Some(_)) => *now = Now { mono: Mono(mono), wall: Wall(wall) },
            (Line::Queue(name), Some(_)) => self.events.push(Event::Queue(name)),
            (Line::In(input), Some(_)) => self.events.push(Event::In(*now, input)),
            (Line::Sum(_), _) => return Err("a hash in the wrong place".into()),
        }
        Ok(())
    }
}

/// The lines up to the next hash, how many bytes they take with it, and the hash.
fn part(bytes: &[u8], before: [u8; 8]) -> Result<(Vec<Line>, usize, [u8; 8]), String> {
    let (mut lines, mut at) = (Vec::new(), 0);
    loop {
        let Some(len) = memchr::memchr(b'\n', &bytes[at..]) else {
            return Err("the last lines have no hash behind them: they were being written".into());
        };
        match serde_json::from_slice(&bytes[at..at + len]) {
            Ok(Line::Sum(said)) => {
                let found = sum(&bytes[..at], before);
                if said != format!("{:016x}", u64::from_be_bytes(found)) {
                    return Err("the hash of these lines is another".into());
                }
                return Ok((lines, at + len + 1, found));
            }
            Ok(line) => lines.push(line),
            Err(error) => return Err(format!("no line of a recording: {error}")),
        }
        at += len + 1;
    }
}
