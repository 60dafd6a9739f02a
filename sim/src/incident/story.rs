//! What happened in a life, as lines: numbered, in lanes, each with the one that led to it.
//!
//! **Invariant.** A line's number is that of the input it belongs to and its place behind it in the story; a cause is an earlier
//! line. The story depends on the recording and the journal alone.

use super::run::{Seen, Until, What};
use super::words;
use crate::trace::Kind;
use serde_json::{Value, json};
use sprag_core::{Input, JobId, Machine, Now, Output, RequestId};
use std::collections::BTreeMap;
use std::fmt;

/// The story so far.
#[derive(Clone, Debug, Default)]
pub struct Story {
    /// Its lines.
    pub lines: Vec<Told>,
    /// The moment of the first line.
    begin: Option<Now>,
    /// The last line about each job, and about each request.
    jobs: BTreeMap<JobId, u32>,
    requests: BTreeMap<RequestId, u32>,
    /// The line of each record that waits to become durable.
    records: BTreeMap<u64, u32>,
    /// The line of the input that is being handled.
    input: u32,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its number, from 1.
    pub number: u32,
    /// The input that it belongs to.
    pub event: u64,
    /// Milliseconds since the beginning.
    pub at_ms: u64,
    /// The same by the calendar, since 1970.
    pub wall_ms: u64,
    /// Whose lane.
    pub actor: &'static str,
    /// What kind of thing.
    pub kind: Kind,
    /// What.
    pub text: String,
    /// The number of the line that led to it; 0 for none.
    pub cause: u32,
    /// The job that it is about.
    pub job: Option<JobId>,
}

impl Story {
    /// Adds what is seen.
    pub fn tell(&mut self, machine: &Machine, seen: &Seen<'_>) {
        match seen.what {
            What::Begins(segment, head) => {
                let how = if head.opens { "a life begins" } else { "goes on" };
                let text = format!("segment {segment}: {how} behind record {}, epoch {}", head.seq.0, head.epoch);
                self.input = self.add(seen, "world", Kind::World, text, 0, None);
            }
            What::Input(input) => {
                let (actor, text) = words::input(machine, input);
                let job = words::job_of_input(input);
                let cause = match input {
                    Input::Persisted { through } => {
                        let rest = self.records.split_off(&(through.0 + 1));
                        let covered = std::mem::replace(&mut self.records, rest);
                        covered.into_values().next_back().unwrap_or(0)
                    }
                    _ => job.and_then(|job| self.jobs.get(&job).copied()).unwrap_or(0),
                };
                let kind = kind_of(input);
                self.input = self.add(seen, actor, kind, text, cause, job);
                if let Input::Submit { request, .. }
                | Input::Cancel { request, .. }
                | Input::Redrive { request, .. }
                | Input::Pause { request, .. }
                | Input::Resume { request, .. } = input
                {
                    self.requests.insert(*request, self.input);
                }
            }
            What::Output(output) => {
                let job = words::job_of_output(output);
                let cause = match output {
                    Output::Reply { request, .. } => self.requests.remove(request).unwrap_or(self.input),
                    _ => self.input,
                };
                let kind = match output {
                    Output::Persist { .. } => Kind::Decides,
                    _ => Kind::Wants,
                };
                let number = self.add(seen, "sprag", kind, words::output(machine, output), cause, job);
                if let Output::Persist { seq, .. } = output {
                    self.records.insert(seq.0, number);
                }
            }
            What::Rest => {}
        }
    }

    fn add(
        &mut self,
        seen: &Seen<'_>,
        actor: &'static str,
        kind: Kind,
        text: String,
        cause: u32,
        job: Option<JobId>,
    ) -> u32 {
        let begin = *self.begin.get_or_insert(seen.now);
        let number = self.lines.len() as u32 + 1;
        let (at_ms, wall_ms) = (seen.now.mono.since_ms(begin.mono), seen.now.wall.0);
        self.lines.push(Told { number, event: seen.event, at_ms, wall_ms, actor, kind, text, cause, job });
        if let Some(job) = job {
            self.jobs.insert(job, number);
        }
        number
    }

    /// Whether what is seen lies behind the point where to stop.
    pub fn is_behind(&self, until: Until, machine: &Machine, seen: &Seen<'_>) -> bool {
        let ms = self.begin.map_or(0, |begin| seen.now.mono.since_ms(begin.mono));
        match (until, &seen.what) {
            (Until::Seq(seq), What::Rest) => machine.last_seq().0 >= seq,
            (Until::Event(event), What::Rest) => seen.event >= event,
            (Until::Ms(until), What::Input(_)) => ms > until,
            (Until::Wall(until), What::Input(_)) => seen.now.wall.0 > until,
            _ => false,
        }
    }

    /// The lines about a job, and those that led to them.
    pub fn about(&self, job: JobId) -> Vec<&Told> {
        let mut wanted: Vec<bool> = self.lines.iter().map(|line| line.job == Some(job)).collect();
        for at in (0..wanted.len()).rev() {
            let cause = self.lines[at].cause as usize;
            // One step for each: what led to a line, not everything since the world began.
            if wanted[at] && cause > 0 && self.lines[at].job == Some(job) {
                wanted[cause - 1] = true;
            }
        }
        self.lines.iter().zip(wanted).filter_map(|(line, wanted)| wanted.then_some(line)).collect()
    }
}

fn kind_of(input: &Input) -> Kind {
    match input {
        Input::Submit { .. }
        | Input::Cancel { .. }
        | Input::Redrive { .. }
        | Input::Pause { .. }
        | Input::Resume { .. }
        | Input::Stop(_)
        | Input::Ended { .. }
        | Input::Slept { .. } => Kind::Act,
        Input::SpawnFailed { .. } | Input::PublishFailed { .. } => Kind::Fault,
        Input::Persisted { .. }
        | Input::Space(_)
        | Input::Spawned { .. }
        | Input::Gone { .. }
        | Input::Published { .. }
        | Input::Source { .. }
        | Input::ForgetKey { .. }
        | Input::StatusCopied { .. }
        | Input::Service { .. }
        | Input::Tick => Kind::Heard,
    }
}

impl Told {
    /// As JSON, for programs and the page.
    pub fn to_json(&self) -> Value {
        json!({
            "number": self.number, "event": self.event, "at_us": self.at_ms * 1000, "at_ms": self.wall_ms,
            "actor": self.actor, "kind": self.kind, "text": self.text, "cause": self.cause,
            "job": self.job.map(|job| job.0), "line": self.to_string(),
        })
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Told { number, at_ms, actor, kind, text, cause, .. } = self;
        write!(f, "{number:>6} {:>5}.{:03}  {actor:<9} {} {text}", at_ms / 1000, at_ms % 1000, kind.mark())?;
        if *cause > 0 { write!(f, "  [{cause}]") } else { Ok(()) }
    }
}
