//! What the driver hears and wants, in words: for the timeline, and for the rolling hash.
//!
//! **Invariant.** The words depend on the value alone, and tell apart whatever may be told apart.

use sprag_journal::Frame;
use sprag_runtime::driver::{Committed, Effect, Event, JournalWork, Notice};
use sprag_runtime::request::Answer;
use sprag_runtime::seams::ChildId;
use sprag_runtime::task::{self, Done};
use std::fmt;

/// A path: nearly all of them are plain text.
pub(crate) struct Path<'a>(pub &'a std::path::Path);

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.to_str() {
            Some(text) => f.write_str(text),
            None => write!(f, "{}", self.0.display()),
        }
    }
}

/// A task.
pub struct Task<'a>(pub &'a task::Task);
/// Work for the journal thread.
pub struct Work<'a>(pub &'a JournalWork);
/// What the driver hears.
pub struct Heard<'a>(pub &'a Event);
/// What the driver wants.
pub struct Wanted<'a>(pub &'a Effect);

struct Child(ChildId);

impl fmt::Display for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ChildId::Attempt { job, attempt } => write!(f, "job {} attempt {}", job.0, attempt.number),
            ChildId::Service { index, run } => write!(f, "service {index} run {run}"),
        }
    }
}

struct FrameText<'a>(&'a Frame);

impl fmt::Display for FrameText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Frame { segment, start, seq, n, sum, .. } = self.0;
        match n {
            0 => write!(f, "a seal at {segment}:{start}"),
            _ => {
                write!(f, "records {}..={seq} at {segment}:{start} ({sum})", seq + 1 - u64::from(*n))?;
                frame_records(self.0).try_for_each(|(kind, job)| write!(f, ", {kind} {job}"))
            }
        }
    }
}

/// The type and the job of each record in a frame, as they stand in its lines.
fn frame_records(frame: &Frame) -> impl Iterator<Item = (&str, &str)> {
    let text = str::from_utf8(&frame.bytes).unwrap_or_default();
    text.lines().filter(|line| line.starts_with("{\"seq\":")).map(|line| {
        let after = |name: &str| line.split_once(name).map_or("", |(_, rest)| rest);
        let word = |text: &'_ str| text.find(['"', ',', '}']).unwrap_or(text.len());
        let (kind, job) = (after("\"type\":\""), after("\"job\":"));
        (&kind[..word(kind)], &job[..word(job)])
    })
}

/// Whether people would want to know of it.
pub fn is_decision(effect: &Effect) -> bool {
    match effect {
        Effect::Journal(JournalWork::Append(frame)) => frame.n > 0,
        Effect::Run(task::Task::Publish { .. }) => true,
        Effect::Signal { .. } | Effect::Answer { .. } | Effect::Stopped | Effect::Fatal { .. } => true,
        Effect::Journal(JournalWork::CheckRoom) | Effect::Say(_) | Effect::Idle => false,
        Effect::HeldUp { .. } | Effect::GivenUp { .. } | Effect::Happened(_) => false,
        Effect::Run(
            task::Task::Arm { .. }
            | task::Task::Look { .. }
            | task::Task::Drop { .. }
            | task::Task::Start { .. }
            | task::Task::Settle { .. }
            | task::Task::Prove { .. }
            | task::Task::Tell { .. }
            | task::Task::Serve { .. }
            | task::Task::Snapshot { .. }
            | task::Task::Discard { .. }
            | task::Task::Survey
            | task::Task::CopyStatus { .. }
            | task::Task::Measure { .. }
            | task::Task::Status { .. },
        ) => false,
    }
}

impl fmt::Display for Task<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            task::Task::Arm { source } => write!(f, "watch source {source}"),
            task::Task::Look { source, .. } => write!(f, "look at source {source}"),
            task::Task::Drop { files } => write!(f, "remove {} drop-box files", files.len()),
            task::Task::Start { job, attempt, .. } => {
                let (number, slot, fence) = (attempt.number, attempt.slot.0, attempt.fence.0);
                write!(f, "start job {} attempt {number} in slot {slot} under fence {fence}", job.0)
            }
            task::Task::Settle { job, attempt, outcome } => {
                write!(f, "settle job {} attempt {}: {outcome:?}", job.0, attempt.number)
            }
            task::Task::Prove { attempts } => write!(f, "prove {} attempts dead", attempts.len()),
            task::Task::Publish { job, attempt, .. } => write!(f, "publish job {} attempt {attempt}", job.0),
            task::Task::Tell { ticket, .. } => write!(f, "read what request {} asks of jobs", ticket.0),
            task::Task::Serve { index, run } => write!(f, "start service {index} run {run}"),
            task::Task::Snapshot { segment, .. } => write!(f, "take a snapshot through segment {segment}"),
            task::Task::Survey => write!(f, "look for what attempts have left"),
            task::Task::Discard { attempts, folders } => {
                write!(f, "remove what {} attempts have left, and {} folders", attempts.len(), folders.len())
            }
            task::Task::CopyStatus { .. } => write!(f, "copy the status"),
            task::Task::Measure { .. } => write!(f, "measure the disk"),
            task::Task::Status { json } => write!(f, "write the status, {} bytes", json.len()),
        }
    }
}

impl fmt::Display for Work<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            JournalWork::Append(frame) => write!(f, "append {}", FrameText(frame)),
            JournalWork::CheckRoom => write!(f, "see whether there is room"),
        }
    }
}

impl fmt::Display for Heard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Event::Journal(Committed::Frame { end, room }) => {
                let what = if *room { "" } else { "; no room beyond it" };
                write!(f, "durable through record {}, {}:{}{what}", end.seq, end.segment, end.offset)
            }
            Event::Journal(Committed::Refused { frame, what }) => write!(f, "refused {}: {what}", FrameText(frame)),
            Event::Journal(Committed::Room(room)) => {
                write!(f, "the disk has {}", if *room { "room" } else { "no room" })
            }
            Event::Journal(Committed::NotRecorded { what }) => write!(f, "not recorded: {what}"),
            Event::Journal(Committed::Failed { what }) => write!(f, "the journal failed: {what}"),
            Event::Dirty { source } => write!(f, "source {source} may have changed"),
            Event::Done(done) => write!(f, "{}", DoneText(done)),
            Event::Exited(exit) => write!(f, "{} exited: {:?}", Child(exit.child), exit.outcome),
            Event::Request { ticket, request } => write!(f, "request {}: {request:?}", ticket.0),
            Event::Stop(level) => write!(f, "stop: {level:?}"),
            Event::Tick => write!(f, "tick"),
            Event::Slept { ms } => write!(f, "the machine slept for {ms} ms"),
        }
    }
}

struct DoneText<'a>(&'a Done);

impl fmt::Display for DoneText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Done::Armed { source, result: Ok(()) } => write!(f, "source {source} is watched"),
            Done::Armed { source, result: Err(what) } => write!(f, "source {source} cannot be watched: {what}"),
            Done::Looked { source, result: Ok(look), .. } => {
                write!(f, "source {source}: {} new items", look.items.len())?;
                look.complaint.as_ref().map_or(Ok(()), |complaint| write!(f, ", but {}", complaint.text))
            }
            Done::Looked { source, result: Err(complaint), .. } => write!(f, "source {source}: {}", complaint.text),
            Done::Dropped { files } => write!(f, "{} drop-box files are removed", files.len()),
            Done::Spawned { child } => write!(f, "{} runs", Child(*child)),
            Done::SpawnFailed { child, failure, .. } => write!(f, "{} was not started: {failure:?}", Child(*child)),
            Done::Settled { job, attempt, outcome, result, gone, .. } => {
                let result = if result.is_some() { "with a result" } else { "without a result" };
                let gone = if *gone { "dead" } else { "not proved dead" };
                write!(f, "job {} attempt {} is settled: {outcome:?} {result}, {gone}", job.0, attempt.number)
            }
            Done::Proved { gone, clear } => {
                let left = if *clear { "nothing of an earlier life is left" } else { "an earlier life may be left" };
                write!(f, "proved {} attempts dead; {left}", gone.len())
            }
            Done::Published { job, result: Ok(()) } => write!(f, "job {} is published", job.0),
            Done::Published { job, result: Err(what) } => write!(f, "job {} is not published: {what}", job.0),
            Done::Snapshot { segment, result: Ok(_) } => write!(f, "a snapshot through segment {segment} stands"),
            Done::Snapshot { segment, result: Err(what) } => write!(f, "no snapshot through segment {segment}: {what}"),
            Done::Told { ticket, .. } => write!(f, "what request {} asks of jobs is read", ticket.0),
            Done::Surveyed { kept, .. } => write!(f, "{} attempts have left something", kept.len()),
            Done::Discarded => write!(f, "what attempts have left is removed"),
            Done::StatusCopied { result: Ok(()) } => write!(f, "the status is copied"),
            Done::StatusCopied { result: Err(what) } => write!(f, "the status is not copied: {what}"),
            Done::Measured(measured) => match &measured.room {
                Ok(room) => write!(f, "{} bytes are free", room.free),
                Err(what) => write!(f, "nobody knows what is free: {what}"),
            },
            Done::Status { result: Ok(()) } => write!(f, "the status is written"),
            Done::Status { result: Err(what) } => write!(f, "the status is not written: {what}"),
        }
    }
}

impl fmt::Display for Wanted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Effect::Journal(work) => write!(f, "journal: {}", Work(work)),
            Effect::Run(task) => write!(f, "{}", Task(task)),
            Effect::Signal { child, kill } => write!(f, "{kill:?} to {}", Child(*child)),
            Effect::Answer { ticket, answer: Answer::Status(json) } => {
                write!(f, "answers request {}: the status, {} bytes", ticket.0, json.len())
            }
            Effect::Answer { ticket, answer } => write!(f, "answers request {}: {answer:?}", ticket.0),
            Effect::Say(notice) => write!(f, "says: {}", NoticeText(notice)),
            Effect::Happened(events) => write!(f, "tells of {} records", events.len()),
            Effect::Idle => write!(f, "idle"),
            Effect::HeldUp { by } => write!(f, "held up by {by:?}"),
            Effect::GivenUp { by } => write!(f, "gives up waiting for {by:?}"),
            Effect::Stopped => write!(f, "stopped"),
            Effect::Fatal { what } => write!(f, "gives up: {what}"),
        }
    }
}

struct NoticeText<'a>(&'a Notice);

impl fmt::Display for NoticeText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Notice::Begun => write!(f, "begins"),
            Notice::Settled => write!(f, "nothing to do"),
            Notice::HeldUp { by } => write!(f, "held up by {by:?}"),
            Notice::Waiting { source } => write!(f, "source {source} is waited for"),
            Notice::Appeared { source } => write!(f, "source {source} is there"),
            Notice::Changed { source, job, .. } => write!(f, "source {source}: the item of job {} changed", job.0),
            Notice::ServiceStarted { index } => write!(f, "service {index} started"),
            Notice::ServiceStopped { index } => write!(f, "service {index} stopped"),
            Notice::NotExecuted { child, failure, why } => write!(f, "{}: {failure:?}: {why}", Child(*child)),
            Notice::Added { job, queue, .. } => write!(f, "job {} added to {queue}", job.0),
            Notice::Started { job, attempt, .. } => write!(f, "job {} attempt {attempt} started", job.0),
            Notice::Finished { job, attempt, next, .. } => {
                write!(f, "job {} attempt {attempt} finished: {next:?}", job.0)
            }
            Notice::Dead { job, reason, .. } => write!(f, "job {} dead: {reason:?}", job.0),
            Notice::Cancelled { job, .. } => write!(f, "job {} is to be cancelled", job.0),
            Notice::Redriven { job, .. } => write!(f, "job {} begins anew", job.0),
            Notice::Paused { queue, paused } => write!(f, "queue {queue}: paused {paused}"),
            Notice::Stopping { level } => write!(f, "somebody wants the end: {level:?}"),
            Notice::Published { job } => write!(f, "job {} published", job.0),
            Notice::PublishFailed { job, what } => write!(f, "job {} not published: {what}", job.0),
            Notice::Complaint { source, complaint, .. } => write!(f, "source {source}: {}", complaint.text),
            Notice::Mended { source } => write!(f, "source {source} is whole again"),
            Notice::Polling { source, what } => write!(f, "source {source} is polled: {what}"),
            Notice::Refused { source, refusal } => write!(f, "items of source {source} refused: {refusal:?}"),
            Notice::NoSpace { what } => write!(f, "no room: {what}"),
            Notice::ServiceEnded { index, outcome, .. } => write!(f, "service {index} ended: {outcome:?}"),
            Notice::TornTail { cut } => write!(f, "cut {} torn bytes: {}", cut.len, cut.what),
            Notice::Health { verdict } => write!(f, "health: {verdict:?}"),
            Notice::SnapshotFailed { what } => write!(f, "no snapshot: {what}"),
            Notice::NotRecorded { what } => write!(f, "not recorded: {what}"),
            Notice::StatusFailed { what } => write!(f, "status not written: {what}"),
        }
    }
}
