//! The driver: owns the Machine, gathers what happens, hands out what is to be done. Never waits, never blocks.
//!
//! **Invariant.** One owner of all state, changed by [`Driver::handle`] alone. What an input leads to is drained in full
//! before the next: records into frames, decisions into effects. At most one frame is in flight. Whoever feeds it (the
//! tokio adapter or the simulator) does what each [`Effect`] says and reports back; the order of effects is decided
//! here and nowhere else.

mod asked;
mod children;
mod control;
mod destinations;
mod events;
mod flight;
mod heartbeat;
mod idle;
mod intake;
mod kept;
mod keys;
mod nag;
mod persist;
mod recovery;
mod report;
mod snapshots;
mod space;
mod waits;

pub use events::Happened;
pub use idle::HELD_UP_MS;
pub use persist::{Committed, JournalWork, journal_step, record_step};
pub use recovery::{OpenError, Recovered, machine_config, open};
pub use report::{Notice, count_text, outcome_text, waits_text};
pub use space::bytes_text;
pub use waits::{For, Kind, Wait};

use crate::pipeline::Pipeline;
use crate::request::{Answer, Request, Ticket};
use crate::scan::{Complaint, Look, Seen};
use crate::seams::{ChildId, Exit};
use crate::task::{Done, Task};
use asked::Asked;
use children::Services;
use control::Control;
use destinations::Destinations;
use events::Events;
use flight::Flight;
use idle::Idle;
use intake::Intake;
use kept::Kept;
use keys::Keys;
use persist::Persistence;
use report::Reporter;
use snapshots::Snapshots;
use space::DiskSpace;
use sprag_core::{
    Attempt, Bug, Input, JobId, Kill, Machine, Mono, Now, Output, Record, SourceReport, Space, StopLevel, Wall, planted,
};
use std::collections::VecDeque;
use std::sync::Arc;
use waits::UnderWay;

/// What happens to the driver.
#[derive(Debug)]
pub enum Event {
    /// The journal thread answers.
    Journal(Committed),
    /// Something may have changed at this source.
    Dirty {
        /// Its number; 0 is the drop-box.
        source: u16,
    },
    /// A task ended.
    Done(Done),
    /// A child ended, and nothing more was done about it.
    Exited(Exit),
    /// A client asks. Answered by [`Effect::Answer`], once.
    Request {
        /// Which request this is: a number that was not used before.
        ticket: Ticket,
        /// What for.
        request: Request,
    },
    /// The program is to end.
    Stop(StopLevel),
    /// A deadline has come, or nothing.
    Tick,
    /// The machine slept since the last event. Told before any other that came meanwhile.
    Slept {
        /// For so long, in milliseconds.
        ms: u64,
    },
}

/// What is to be done.
#[derive(Debug)]
pub enum Effect {
    /// For the journal thread. Answered by [`Event::Journal`].
    Journal(JournalWork),
    /// For a pool thread. Answered by [`Event::Done`].
    Run(Task),
    /// Signal a child's process group.
    Signal {
        /// Which.
        child: ChildId,
        /// How hard.
        kill: Kill,
    },
    /// For a client.
    Answer {
        /// Which request it answers.
        ticket: Ticket,
        /// The answer.
        answer: Answer,
    },
    /// For people.
    Say(Notice),
    /// For whoever listens: records that are durable, in order.
    Happened(Vec<Happened>),
    /// Nothing waits, nothing runs, and every source was read once more since: with `--until-idle`, the end.
    Idle,
    /// Nothing is left to do but what cannot be done as things are. Told once for each change of that.
    HeldUp {
        /// What cannot be done, and why.
        by: Vec<String>,
    },
    /// What holds everything up has not changed for [`HELD_UP_MS`]: with `--until-idle`, the end.
    GivenUp {
        /// What cannot be done, and why.
        by: Vec<String>,
    },
    /// Everything is at rest and sealed: the program ends.
    Stopped,
    /// The journal cannot be trusted to hold what comes: the program ends at once, and a restart recovers.
    Fatal {
        /// What happened.
        what: String,
    },
}

/// The owner of all state.
#[derive(Debug)]
pub struct Driver {
    pipeline: Arc<Pipeline>,
    machine: Machine,
    persistence: Persistence,
    intake: Intake,
    control: Control,
    events: Events,
    asked: Asked,
    services: Services,
    reporter: Reporter,
    flight: Flight,
    under_way: UnderWay,
    snapshots: Snapshots,
    space: DiskSpace,
    kept: Kept,
    keys: Keys,
    destinations: Destinations,
    /// Attempts that wait for a proof of death.
    to_prove: Vec<(JobId, Attempt)>,
    /// A look at all processes is under way.
    proving: bool,
    /// Whether every earlier life of sprag is proved dead: services start only then.
    clear: bool,
    effects: VecDeque<Effect>,
    idle: Idle,
    stopping: StopLevel,
    /// The Machine has stopped, and the word was passed on.
    stopped: bool,
    said_stopped: bool,
    /// When a drain has taken long enough, and when the end is not waited for any longer.
    kill_at: Option<Mono>,
    abandon_at: Option<Mono>,
}

/// After the last grace, so much longer for what was killed to be proved dead, in milliseconds.
const ABANDON_AFTER_MS: u64 = 5_000;

impl Driver {
    /// Takes one event and leads it to its end. Drain [`Driver::poll`] to `None` afterwards.
    pub fn handle(&mut self, now: Now, event: Event) {
        self.handle_all(now, [event]);
    }

    /// Takes events that have come together, in order; what follows by itself follows once, so that what they lead to shares
    /// a frame.
    pub fn handle_all(&mut self, now: Now, events: impl IntoIterator<Item = Event>) {
        self.under_way.turn(now);
        self.turn_the_page(now);
        for event in events {
            self.take(now, event);
        }
        self.advance(now);
    }

    fn take(&mut self, now: Now, event: Event) {
        match event {
            Event::Journal(committed) => self.journal_answered(now, committed),
            Event::Dirty { source } => self.intake.mark(source),
            Event::Done(done) => self.done(now, done),
            Event::Exited(exit) => self.exited(now, exit),
            Event::Request { ticket, request } => self.request(now, ticket, request),
            Event::Stop(level) => self.stop(now, level),
            Event::Tick => self.input(now, Input::Tick),
            Event::Slept { ms } => {
                self.intake.slept(now);
                self.input(now, Input::Slept { ms });
            }
        }
    }

    /// The next thing to be done, or `None`.
    pub fn poll(&mut self) -> Option<Effect> {
        let effect = self.effects.pop_front()?;
        self.under_way.handed_out(&effect);
        Some(effect)
    }

    /// When the next `Tick` is wanted, if nothing else comes before.
    pub fn deadline(&self, now: Now) -> Option<Mono> {
        let deadlines = [
            self.machine.deadline(now),
            self.intake.deadline(),
            self.services.deadline(self.starts_services()),
            self.persistence.deadline(),
            self.reporter.deadline(),
            self.snapshots.deadline(self.machine.space() > Space::Enough),
            self.space.deadline(),
            self.kept.deadline(),
            self.idle.deadline(),
            self.kill_at,
            self.abandon_at,
        ];
        deadlines.into_iter().flatten().min()
    }

    /// The Machine, to look at.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The pipeline.
    pub fn pipeline(&self) -> &Arc<Pipeline> {
        &self.pipeline
    }

    /// Feeds the Machine and leads what it decides onward.
    fn input(&mut self, now: Now, input: Input) {
        self.feed(now, input);
        self.drain(now);
    }

    fn drain(&mut self, now: Now) {
        while let Some(output) = self.machine.poll() {
            self.output(now, output);
        }
    }

    fn output(&mut self, now: Now, output: Output) {
        match output {
            Output::Persist { seq, record } => {
                if let Record::Forgotten { job } = record {
                    self.forgotten(job);
                }
                let place = self.persistence.push(now, seq, &record, &self.machine, self.asked.current());
                let key = self.asked.current().and_then(|texts| texts.key);
                self.reporter.decided(seq, &record, &self.machine, key);
                self.events.decided(now, seq, &record, &self.machine, key);
                if let (Record::Added { job, .. }, Some(place)) = (record, place) {
                    self.machine.placed(job, place);
                }
            }
            Output::Reply { request, reply } => self.replied(now, request, reply),
            Output::Start { job, attempt } => self.start_attempt(now, job, attempt),
            Output::Signal { job, attempt, kill } => {
                let child = ChildId::Attempt { job, attempt };
                self.effects.push_back(Effect::Signal { child, kill });
            }
            Output::Prove { job, attempt } => self.to_prove.push((job, attempt)),
            Output::Publish { job, attempt } => self.publish(job, attempt),
            Output::Discard { job, attempts: _ } => self.discard(job),
            Output::Stopped => self.stopped = true,
        }
    }

    fn done(&mut self, now: Now, done: Done) {
        self.under_way.came_back(&done);
        match done {
            Done::Armed { source, result } => {
                let said = self.intake.armed(now, source, result);
                self.say_all(said);
            }
            Done::Looked { source, seen, result } => self.looked(now, source, seen, result),
            Done::Dropped { files } => self.intake.dropped(&files),
            Done::Spawned { child } => self.spawned(now, child),
            Done::SpawnFailed { child, failure, why } => self.spawn_failed(now, child, failure, why),
            Done::Settled { job, attempt, outcome, result, gone, kept_bytes } => {
                self.attempt_left(now, job, attempt.number, kept_bytes);
                self.input(now, Input::Ended { job, attempt: attempt.number, outcome, result, gone });
            }
            Done::Proved { gone, clear } => self.proved(now, gone, clear),
            Done::Told { ticket, answer } => self.answer(ticket, answer),
            Done::Published { job, result } => self.published(now, job, result),
            Done::Status { result } => {
                let said = self.reporter.status_written(now, result);
                self.say_all(said);
            }
            Done::Snapshot { segment, result } => self.snapshot_taken(now, segment, result),
            Done::Surveyed { kept, folders } => self.surveyed(now, kept, folders),
            Done::Discarded => self.discarded(),
            Done::StatusCopied { result } => self.status_copied(now, result),
            Done::Measured(measured) => self.measured(now, measured),
        }
    }

    fn looked(&mut self, now: Now, source: u16, seen: Seen, result: Result<Look, Complaint>) {
        let (reports, said) = self.intake.looked(now, source, seen, result);
        self.say_all(said);
        self.looked_at(now);
        for report in reports {
            self.input(now, Input::Source { source: sprag_core::SourceId(source), report });
        }
    }

    fn say_all(&mut self, notices: impl IntoIterator<Item = Notice>) {
        self.effects.extend(notices.into_iter().map(Effect::Say));
    }

    /// Everything that follows by itself: new items, looks, services, proofs, frames, status, the end.
    fn advance(&mut self, now: Now) {
        self.machine_time(now);
        self.do_requests(now);
        self.submit_backlog(now);
        self.look_at_sources(now);
        self.prove_leftovers();
        self.run_services(now);
        self.check_idle(now);
        self.next_journal_work(now);
        self.take_snapshot(now);
        self.keep_bounds(now);
        self.forget_keys(now);
        self.measure(now);
        self.report(now);
        self.check_stopped(now);
    }

    fn next_journal_work(&mut self, now: Now) {
        let asked = self.control.waits_for_records() || self.machine.waits_for_records();
        let waited = asked || self.stopping > StopLevel::Run;
        let short = self.machine.space() > Space::Enough;
        self.persistence.rotate_at(self.snapshots.segment_bytes(short));
        if short && self.stopping == StopLevel::Run && self.snapshots.wants_the_rest() {
            self.persistence.finish_at_rest(now);
        }
        self.persistence.next_work(now, &mut self.effects, waited, self.stopped);
    }

    fn machine_time(&mut self, now: Now) {
        if self.machine.deadline(now).is_some_and(|at| at <= now.mono) {
            self.input(now, Input::Tick);
        }
    }

    /// Drains first; ends attempts when that takes too long, or at the second word.
    fn stop(&mut self, now: Now, level: StopLevel) {
        self.stopping = self.stopping.max(level);
        let grace_ms_max = self.pipeline.queues.iter().map(|queue| queue.policy.grace_ms).max().unwrap_or(0);
        match self.stopping {
            StopLevel::Run => {}
            StopLevel::Drain => self.kill_at = Some(now.mono.after(self.pipeline.stop_timeout_ms)),
            StopLevel::Kill => {
                self.kill_at = None;
                self.abandon_at.get_or_insert(now.mono.after(grace_ms_max + ABANDON_AFTER_MS));
            }
        }
        self.services_stop(level);
        self.input(now, Input::Stop(level));
    }

    /// The end: at rest, sealed, and nobody waits for an answer; or abandoned to the next start, which proves every leftover
    /// dead.
    fn check_stopped(&mut self, now: Now) {
        if self.kill_at.is_some_and(|at| at <= now.mono) {
            self.stop(now, StopLevel::Kill);
            self.next_journal_work(now);
        }
        let answered = self.control.is_quiet() || planted(Bug::EndsUnanswered);
        let at_rest = self.stopped && self.persistence.is_sealed() && self.services_down() && answered;
        let abandoned = self.abandon_at.is_some_and(|at| at <= now.mono);
        if (at_rest || abandoned) && !self.said_stopped {
            self.said_stopped = true;
            self.kill_at = None;
            self.abandon_at = None;
            self.effects.push_back(Effect::Stopped);
        }
    }

    fn look_at_sources(&mut self, now: Now) {
        for task in self.intake.due(now) {
            // To watch a dead mount hangs like reading from it. What is armed is looked at next.
            if let Task::Look { source, .. } | Task::Arm { source } = &task {
                let report = SourceReport::Looking;
                self.feed(now, Input::Source { source: sprag_core::SourceId(*source), report });
            }
            self.effects.push_back(Effect::Run(task));
        }
        self.drain(now);
    }

    fn deadline_of(&self, now: Now, attempt: Attempt) -> Option<Wall> {
        let queue = self.pipeline.queues.get(usize::from(attempt.queue.0))?;
        Some(now.wall.after(queue.policy.timeout_ms?))
    }
}
