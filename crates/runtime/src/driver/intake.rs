//! From sources to the Machine: when to look, what to offer, what came of it.
//!
//! **Invariant.** Arm, then look. An event only marks a source; the look is the truth, and one comes at least every
//! period. At most one look per source is under way. What the Machine refused is offered again. A drop-box file is
//! removed only after its job is durable.

use super::asked::{Origin, Words};
use super::nag::Nag;
use super::{Driver, Effect, Notice};
use crate::scan::{Complaint, INBOX_FILES_MAX, Item, Look, Seen};
use crate::task::{INBOX, Task};
use sprag_core::{Bug, planted, rescan_is_off};
use sprag_core::{JobId, KeyHash, Mono, NewJob, Now, Reply, SourceFault, SourceReport, Space};
use std::collections::{BTreeSet, VecDeque};

/// A watched source is looked at again after so long, whatever was heard of it.
const LOOK_AGAIN_MS: u64 = 5_000;
/// A source that cannot be watched is looked at so often.
const POLL_MS: u64 = 2_000;
/// A source with refused items is offered again after so long.
const REFUSED_MS: u64 = 1_000;
/// No more is taken from sources while so many bytes wait for the journal.
const PENDING_BYTES_MAX: u64 = 1 << 20;
/// So many changed items of a source are told apart; further ones are not counted.
const CHANGED_MAX: usize = 10_000;
/// So many of them are named, each once.
const CHANGED_SAID_MAX: usize = 10;

#[derive(Debug)]
pub(super) struct Intake {
    sources: Vec<Source>,
    /// Drop-box files whose jobs are durable.
    to_drop: Vec<String>,
}

#[derive(Debug)]
struct Source {
    armed: Armed,
    /// Why it is polled: said once.
    polled: Option<String>,
    /// What stood there is gone, and perhaps the watch with it.
    doubtful: bool,
    /// Something may have changed.
    dirty: bool,
    /// What was offered; away while a look is under way.
    seen: Option<Seen>,
    /// The machine slept while it was away.
    slept: bool,
    /// Found and not yet offered.
    backlog: VecDeque<Item>,
    /// Offered and not yet answered.
    unanswered: u64,
    look_at: Mono,
    /// Looks begun, and the number of the one that the idle check waits for.
    looks: u64,
    wanted_look: u64,
    clean_look: u64,
    complaint: Option<Complaint>,
    /// It stood there in this life.
    was_there: bool,
    /// What stands there is known, all of it: it was read whole, with nothing wrong in it.
    known: bool,
    /// The last look took nothing: a fault of the whole, not of an item.
    unread: bool,
    /// Items were refused, and not taken since.
    refused: Option<Nag>,
    /// Jobs whose items changed afterwards.
    changed: BTreeSet<JobId>,
    /// Items that are on record, whether they made a job in this life or were known.
    taken: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Armed {
    No,
    Asked,
    Yes,
    /// Watching is not to be had: polled.
    Polled,
}

impl Source {
    /// Watching is not to be had, or not for all of it.
    fn poll(&mut self, index: u16, what: String) -> Option<Notice> {
        self.armed = Armed::Polled;
        let said = self.polled.as_ref() == Some(&what);
        self.polled = Some(what.clone());
        (!said).then_some(Notice::Polling { source: index, what })
    }

    /// It was never there so far.
    fn is_waiting(&self) -> bool {
        let missing = self.complaint.as_ref().is_some_and(|complaint| complaint.fault == SourceFault::Missing);
        missing && !self.was_there
    }

    /// Whether a look could begin: nothing is under way that a look would have to wait for.
    fn is_ready(&self) -> bool {
        let at_rest = self.backlog.is_empty() && self.unanswered == 0 && self.seen.is_some();
        at_rest && (self.armed != Armed::Asked || planted(Bug::LookBeforeArm))
    }
}

impl Intake {
    /// The drop-box and `sources` more.
    pub(super) fn new(sources: u16) -> Intake {
        let source = || Source {
            armed: Armed::No,
            polled: None,
            doubtful: false,
            dirty: true,
            seen: Some(Seen::default()),
            slept: false,
            backlog: VecDeque::new(),
            unanswered: 0,
            look_at: Mono(0),
            looks: 0,
            wanted_look: 0,
            clean_look: 0,
            complaint: None,
            was_there: false,
            known: false,
            unread: false,
            refused: None,
            changed: BTreeSet::new(),
            taken: 0,
        };
        Intake { sources: (0..=sources).map(|_| source()).collect(), to_drop: Vec::new() }
    }

    pub(super) fn mark(&mut self, source: u16) {
        if let Some(source) = self.sources.get_mut(usize::from(source)) {
            source.dirty = true;
        }
    }

    /// The machine slept until now.
    pub(super) fn slept(&mut self, now: Now) {
        for source in &mut self.sources {
            match &mut source.seen {
                Some(seen) => seen.woke(now.mono),
                None => source.slept = true,
            }
        }
    }

    pub(super) fn armed(&mut self, now: Now, index: u16, result: Result<(), String>) -> Option<Notice> {
        let source = self.sources.get_mut(usize::from(index))?;
        if !planted(Bug::LookBeforeArm) {
            source.dirty = true;
            source.look_at = now.mono;
        }
        source.doubtful = false;
        match result {
            Ok(()) => {
                source.armed = Armed::Yes;
                None
            }
            Err(what) => source.poll(index, what),
        }
    }

    /// Looks and watches that are due.
    pub(super) fn due(&mut self, now: Now) -> Vec<Task> {
        let mut tasks = Vec::new();
        for (index, source) in (0..).zip(&mut self.sources) {
            let unsure = source.armed == Armed::Polled || source.doubtful;
            if unsure && !source.dirty && source.look_at <= now.mono && source.is_ready() {
                // Perhaps it can be watched by now.
                source.armed = Armed::No;
            }
            let looked_first = source.looks > 0 && source.seen.is_some();
            if source.armed == Armed::No && (!planted(Bug::LookBeforeArm) || looked_first) {
                source.armed = Armed::Asked;
                tasks.push(Task::Arm { source: index });
            }
            let wanted = source.dirty || source.look_at <= now.mono;
            if !wanted || !source.is_ready() {
                continue;
            }
            if let Some(mut seen) = source.seen.take() {
                seen.begin(now.mono);
                source.dirty = planted(Bug::LostWakeUp);
                source.looks += 1;
                tasks.push(Task::Look { source: index, seen });
            }
        }
        if !self.to_drop.is_empty() {
            tasks.push(Task::Drop { files: std::mem::take(&mut self.to_drop) });
        }
        tasks
    }

    pub(super) fn looked(
        &mut self,
        now: Now,
        index: u16,
        mut seen: Seen,
        result: Result<Look, Complaint>,
    ) -> (Vec<SourceReport>, Vec<Notice>) {
        let Some(source) = self.sources.get_mut(usize::from(index)) else {
            return (Vec::new(), Vec::new());
        };
        seen.end(now.mono);
        if std::mem::take(&mut source.slept) {
            seen.woke(now.mono);
        }
        let look_is_ok = result.is_ok();
        let lost = planted(Bug::ParseErrorEndsSource)
            && result.as_ref().is_err_and(|complaint| complaint.fault == SourceFault::Malformed);
        source.seen = (!lost).then_some(seen);
        source.dirty &= !planted(Bug::LostWakeUp);
        let mut said = Vec::new();
        // A source that is not there (yet) holds nothing to wait for.
        let read = result.as_ref().map_or_else(|complaint| complaint.fault == SourceFault::Missing, |_| true);
        let (look, complaint) = match result {
            Ok(mut look) => {
                let complaint = look.complaint.take();
                (look, complaint)
            }
            Err(complaint) => (Look::default(), Some(complaint)),
        };
        let whole = look.items.len() < INBOX_FILES_MAX || index != INBOX;
        source.known |= look_is_ok && complaint.is_none() && look.again_ms.is_none() && whole;
        match look.unwatched {
            Some(what) => said.extend(source.poll(index, what)),
            None if source.armed == Armed::Yes && source.polled.take().is_some() => {
                said.push(Notice::Mended { source: index });
            }
            None => {}
        }
        let gone = |complaint: &Complaint| matches!(complaint.fault, SourceFault::Missing | SourceFault::Unreadable);
        source.doubtful = complaint.as_ref().is_some_and(gone);
        let rescan_ms = if rescan_is_off() { u64::MAX } else { LOOK_AGAIN_MS };
        let again_ms = if source.armed == Armed::Polled { POLL_MS } else { rescan_ms };
        source.look_at = now.mono.after(look.again_ms.map_or(again_ms, |ms| ms.min(again_ms)));
        let new_items = look.items.len() as u64;
        source.backlog.extend(look.items);
        if read && new_items == 0 && look.again_ms.is_none() {
            source.clean_look = source.looks;
        }
        // The idle check waits for a look that finds nothing: it need not wait for the next period.
        source.dirty |= new_items > 0 && source.clean_look < source.wanted_look;
        let waited = source.is_waiting();
        source.was_there |= complaint.as_ref().is_none_or(|complaint| complaint.fault != SourceFault::Missing);
        source.unread = !read;
        if source.complaint != complaint {
            source.complaint.clone_from(&complaint);
            said.extend(waited.then_some(Notice::Appeared { source: index }));
            said.extend(match complaint.clone() {
                Some(_) if source.is_waiting() => Some(Notice::Waiting { source: index }),
                Some(complaint) => Some(Notice::Complaint { source: index, complaint, rest: read }),
                None if waited => None,
                None => Some(Notice::Mended { source: index }),
            });
        }
        // A source of which some items are unfit was read all the same.
        let read = look_is_ok.then_some(SourceReport::Read { new_items });
        let fault = complaint.map(|complaint| SourceReport::Fault(complaint.fault));
        (read.into_iter().chain(fault).collect(), said)
    }

    pub(super) fn dropped(&mut self, files: &[String]) {
        if let Some(seen) = self.sources.first_mut().and_then(|inbox| inbox.seen.as_mut()) {
            for file in files {
                seen.forget_file(file);
            }
        }
    }

    /// Nothing found that is not durable, nothing to remove.
    pub(super) fn is_quiet(&self) -> bool {
        self.to_drop.is_empty() && self.sources.iter().all(|source| source.backlog.is_empty() && source.unanswered == 0)
    }

    /// Wants one more look at every source, begun from now on.
    pub(super) fn look_again(&mut self) {
        for source in &mut self.sources {
            source.dirty = true;
            source.wanted_look = source.looks + 1;
        }
    }

    /// What is wrong with sources that cannot be taken, if each look that was wanted has begun and nothing else keeps a
    /// source from being clean.
    pub(super) fn faulty(&self) -> Option<Vec<(u16, String)>> {
        let mut faulty = Vec::new();
        for (index, source) in (0..).zip(&self.sources) {
            let clean = source.clean_look >= source.wanted_look;
            let begun = source.looks >= source.wanted_look;
            match source.complaint.as_ref().filter(|_| source.unread && begun) {
                _ if clean => {}
                Some(complaint) => faulty.push((index, complaint.text.clone())),
                None => return None,
            }
        }
        Some(faulty)
    }

    /// Whether a source was never there so far.
    pub(super) fn is_waiting(&self, index: u16) -> bool {
        self.sources.get(usize::from(index)).is_some_and(Source::is_waiting)
    }

    /// How many of its items are on record.
    pub(super) fn taken(&self, index: u16) -> u64 {
        self.sources.get(usize::from(index)).map_or(0, |source| source.taken)
    }

    /// How many of its items changed after they were taken.
    pub(super) fn changed(&self, index: u16) -> usize {
        self.sources.get(usize::from(index)).map_or(0, |source| source.changed.len())
    }

    /// Whether each of those looks was clean and found nothing new.
    pub(super) fn has_looked_again(&self) -> bool {
        self.sources.iter().all(|source| source.clean_look >= source.wanted_look && source.seen.is_some())
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        let looked_at = |source: &&Source| source.is_ready() || planted(Bug::BusyLoop);
        self.sources.iter().filter(looked_at).map(|source| source.look_at).min()
    }

    /// Whether an item with this key stands in a source, or did in this life of sprag; `None` while that cannot be told.
    pub(super) fn stands(&self, key: KeyHash) -> Option<bool> {
        let mut stands = false;
        for source in &self.sources {
            stands |= source.seen.as_ref().filter(|_| source.known)?.has_key(key);
        }
        Some(stands)
    }

    /// Why a source is polled, for status.
    pub(super) fn polled(&self, index: u16) -> Option<&str> {
        self.sources.get(usize::from(index))?.polled.as_deref()
    }

    /// What is wrong with a source, for status. That it is not there yet is nothing wrong.
    pub(super) fn complaint(&self, index: u16) -> Option<&Complaint> {
        self.sources.get(usize::from(index)).filter(|source| !source.is_waiting())?.complaint.as_ref()
    }

    fn next_item(&mut self) -> Option<(u16, Item)> {
        let at = self.sources.iter().position(|source| !source.backlog.is_empty())?;
        let source = &mut self.sources[at];
        source.unanswered += 1;
        let item = source.backlog.pop_front()?;
        Some((u16::try_from(at).ok()?, item))
    }
}

impl Driver {
    /// Offers what was found, as long as the journal keeps up.
    pub(super) fn submit_backlog(&mut self, now: Now) {
        // Without room they wait where they are: to be refused would mean to read it all again.
        while self.persistence.pending() < PENDING_BYTES_MAX && self.machine.space() == Space::Enough {
            let Some((source, item)) = self.intake.next_item() else { return };
            let job = NewJob {
                queue: self.machine.queue_named(&item.queue),
                key: Some(item.hash),
                digest: item.digest,
                priority: item.priority,
                when: item.when,
            };
            if planted(Bug::DroppedEarly) {
                self.intake.to_drop.extend(item.file.clone());
            }
            let words = Words { key: item.key, payload: item.payload };
            self.submit(now, Origin::Source { source, file: item.file }, job, words);
        }
    }

    /// An item's answer is durable.
    pub(super) fn source_answered(&mut self, now: Now, index: u16, file: Option<String>, reply: Reply) {
        let Some(source) = self.intake.sources.get_mut(usize::from(index)) else { return };
        source.unanswered -= 1;
        match reply {
            Reply::Added(_) | Reply::Known(_) | Reply::Conflict(_) | Reply::Done => {
                source.taken += 1;
                // What is known was taken before: that it is offered again is no news.
                if let Reply::Added(_) = reply {
                    source.refused = None;
                }
                if let Reply::Conflict(job) = reply {
                    let new = source.changed.len() < CHANGED_MAX && source.changed.insert(job);
                    let said = new && source.changed.len() <= CHANGED_SAID_MAX;
                    let more = source.changed.len() < CHANGED_SAID_MAX;
                    let notice = Notice::Changed { source: index, job, more };
                    self.effects.extend(said.then_some(Effect::Say(notice)));
                }
                self.reporter.answered(index, reply);
                if index == INBOX {
                    self.intake.to_drop.extend(file);
                }
            }
            Reply::Refused(refusal) => {
                // Offered again as a whole: what is durable will be known.
                if let Some(seen) = source.seen.as_mut().filter(|_| !planted(Bug::RefusedForgotten)) {
                    *seen = Seen::default();
                    source.known = false;
                    source.taken = 0;
                }
                source.look_at = now.mono.after(REFUSED_MS);
                // Not at once, whoever wanted it: what was refused would be refused again.
                source.dirty &= planted(Bug::RefusedAtOnce);
                if source.refused.get_or_insert_default().is_due(now.mono) {
                    self.effects.push_back(Effect::Say(Notice::Refused { source: index, refusal }));
                }
            }
        }
    }
}
