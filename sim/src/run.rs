//! One seed, from the first event to the verdict: lives of sprag, one after the other, on one world.
//!
//! **Invariant.** The driver that ships is fed here and nowhere else, and its effects are done in the order in which it hands
//! them out. First anything may go wrong; then nothing does, and within a bounded time sprag must say that it is idle, stay
//! so, stop when asked, and have kept every promise. A system that does nothing fails.

mod end;

use crate::chance::Script;
use crate::describe;
use crate::failure::{Check, Failure};
use crate::incident::Recorded;
use crate::marks::Marks;
use crate::places::{Actor, Site};
use crate::plan;
use crate::processes::SimProcesses;
use crate::shared::{Shared, Threads};
use crate::tape::Choice;
use crate::tier2::{self, Way};
use crate::trace::{Keep, Kind, Line};
use crate::watch::SimWatch;
use crate::world::{Due, End, Starts};
use sprag_core::{Mono, Now, Verdict};
use sprag_journal::JournalError;
use sprag_runtime::driver::{self, Driver, Effect, Event, JournalWork, OpenError};
use sprag_runtime::request::{Answer, Request};
use sprag_runtime::seams::Processes as _;
use sprag_runtime::task::{Context, Done, Measured, Task};
use std::any::Any;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

/// So many ticks in a row that it asked for in the past, and that led to nothing, are a busy loop.
const SPINS_MAX: u32 = 0;

/// What came of a seed.
#[derive(Clone, Debug)]
pub struct Report {
    /// The rolling hash of everything that happened.
    pub hash: u64,
    /// How many things happened.
    pub steps: u32,
    /// How many of them were events (see [`Kind::is_event`]).
    pub events: u32,
    /// How many of them the driver was told: ticks, answers, changes, requests.
    pub heard: u32,
    /// How long it took, in simulated microseconds.
    pub simulated_us: u64,
    /// How often sprag was started.
    pub lives: u32,
    /// How many commands were executed.
    pub executions: u64,
    /// What was seen.
    pub marks: Marks,
    /// The different states that the driver was in, as numbers.
    pub states: BTreeSet<u64>,
    /// What is wrong with sprag, if anything is.
    pub failure: Option<Failure>,
    /// What happened, as far as it was kept.
    pub lines: Vec<Line>,
    /// What was chosen, in the order in which it was.
    pub choices: Vec<Choice>,
    /// Choices on the tape that were not drawn, or not as they stand there.
    pub unmet: Vec<Choice>,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Anything may happen.
    Open,
    /// It was asked to stop for good, at this time; then it is judged.
    Stopping {
        since_us: u64,
    },
    /// It was judged, and started once more: nothing may be left to do.
    Again,
    Over,
}

pub(crate) struct Run {
    shared: Rc<Shared>,
    pub(crate) driver: Option<Box<Driver>>,
    pub(crate) tick: Option<(u64, u64)>,
    /// The last tick was asked for when its time had already come.
    late: bool,
    spins: u32,
    lives: u32,
    /// It said so, and took on nothing since.
    idle: bool,
    /// Since when nothing goes wrong and no file changes.
    settled_us: Option<u64>,
    /// So much longer it is left with nothing to do.
    rest_us: u64,
    phase: Phase,
    executions: usize,
}

thread_local! {
    /// Where the last panic of this thread was.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// From here on panics of the code under test are not heard, but told in reports with their place.
pub fn quiet_panics() {
    std::panic::set_hook(Box::new(|info| {
        let at = info.location().map(|at| format!(" at {}:{}", at.file(), at.line())).unwrap_or_default();
        PANIC.with(|panic| *panic.borrow_mut() = at);
    }));
}

/// Runs a seed or a tape to its end, in the tier that it is for. A panic of the code under test is a failure like any other.
pub fn run(script: impl Into<Script>, keep: Keep) -> Report {
    let script = script.into();
    if script.is_networked() {
        return tier2::run(script, Way::Rough, keep);
    }
    run_and_rest(script, keep, 0)
}

/// Runs a script of tier 1; before it ends, sprag has nothing to do for so long.
pub fn run_and_rest(script: impl Into<Script>, keep: Keep, rest_us: u64) -> Report {
    let shared = Shared::new(script.into(), keep);
    let mut run = Run { rest_us, ..Run::new(Rc::clone(&shared)) };
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        run.prepare();
        run.go_to_the_end();
    }));
    if let Err(panic) = outcome {
        failed_by_panic(&shared, &*panic);
    }
    run.report()
}

/// The code under test panicked.
pub(crate) fn failed_by_panic(shared: &Shared, panic: &(dyn Any + Send)) {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
    let at = PANIC.take();
    shared.world.borrow_mut().fail(Check::Panic.failed(format!("{text}{at}")));
}

impl Run {
    pub(crate) fn new(shared: Rc<Shared>) -> Run {
        Run {
            shared,
            driver: None,
            tick: None,
            late: false,
            spins: 0,
            lives: 0,
            idle: false,
            settled_us: None,
            rest_us: 0,
            phase: Phase::Open,
            executions: 0,
        }
    }

    /// What came of it. The world is over.
    pub(crate) fn report(&self) -> Report {
        self.shared.end_life();
        let mut world = self.shared.world.borrow_mut();
        world.fs.set_hook(None);
        Report {
            hash: world.trace.hash(),
            steps: world.trace.count(),
            events: world.trace.events(),
            heard: world.trace.heard(),
            simulated_us: world.now_us,
            lives: self.lives,
            executions: world.oracle.executions.len() as u64,
            marks: world.marks,
            states: std::mem::take(&mut world.states),
            failure: world.failure.take(),
            lines: world.trace.take_lines(),
            choices: world.chance.take_choices(),
            unmet: world.chance.unmet(),
        }
    }

    /// Whether there is no more to be seen.
    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Over || self.shared.world.borrow().failure.is_some()
    }

    /// What is due from the beginning.
    pub(crate) fn prepare(&mut self) {
        let world = &mut *self.shared.world.borrow_mut();
        let pipeline = Arc::clone(&world.pipeline);
        for queue in &pipeline.queues {
            world.note(Actor::World, Kind::Setting, format_args!("{queue:?}"));
        }
        for source in &pipeline.sources {
            world.note(Actor::World, Kind::Setting, format_args!("{source:?}"));
        }
        for index in 0..world.producers.len() {
            let (actor, summary) = (world.producers[index].actor(), world.producers[index].summary());
            world.note(actor, Kind::Setting, format_args!("{summary}"));
        }
        world.cause = 0;
        for index in 0..world.producers.len() {
            let begin_us = world.chance.span(world.producers[index].actor(), Site::ProducerRest, 10, 3_000_000);
            world.schedule(begin_us, Due::Producer(index));
        }
        let heal_us = world.chance.span(Actor::World, Site::HealAt, 500_000, 16_000_000);
        world.schedule(heal_us, Due::Heal);
        for _ in 0..world.chance.below(Actor::World, Site::WallStep, 4).saturating_sub(1) {
            let at_us = world.chance.below(Actor::World, Site::WallStep, heal_us);
            world.schedule(at_us, Due::WallStep);
        }
        for _ in 0..world.chance.below(Actor::World, Site::Sleep, 4).saturating_sub(1) {
            let at_us = world.chance.below(Actor::World, Site::Sleep, heal_us);
            world.schedule(at_us, Due::Sleep);
        }
        for _ in 0..world.chance.below(Actor::World, Site::Frozen, 4).saturating_sub(2) {
            let at_us = world.chance.below(Actor::World, Site::Frozen, heal_us);
            world.schedule(at_us, Due::Freeze);
        }
        if world.chance.one_in(Actor::World, Site::Monitor, 2) {
            world.schedule(200_000, Due::Monitor);
        }
        for _ in 0..world.chance.below(Actor::World, Site::DiskFull, 5).saturating_sub(2) {
            let at_us = world.chance.below(Actor::World, Site::DiskFull, heal_us);
            world.schedule(at_us, Due::Disk { full: true });
        }
        if !world.client.is_done() {
            let begin_us = world.chance.span(Actor::Client, Site::ProducerRest, 10, 1_000_000);
            world.schedule(begin_us, Due::Client);
        }
        world.schedule(1, Due::Open);
    }

    fn go_to_the_end(&mut self) {
        while !self.is_over() {
            if let Some(due) = self.shared.next() {
                self.turn(due);
            }
            let ending = self.shared.world.borrow().ending;
            if let Some(end) = ending {
                self.bury(end);
            }
            self.watch_the_end();
        }
    }

    fn turn(&mut self, due: Due) {
        let life = self.shared.world.borrow().life;
        match due {
            Due::Open => self.open(),
            Due::Heard { life: of, event } if of == life => self.hear(event),
            Due::Marked { life: of, source } if of == life => {
                self.shared.world.borrow_mut().marked.remove(&source);
                self.hear(Event::Dirty { source });
            }
            Due::Tick { life: of } if of == life => {
                self.tick = None;
                self.hear(Event::Tick);
            }
            Due::Heard { .. } | Due::Marked { .. } | Due::Tick { .. } => {}
            Due::Pool { .. }
            | Due::Keeper { .. }
            | Due::Journal { .. }
            | Due::Events { .. }
            | Due::Producer(_)
            | Due::Client
            | Due::Process(_)
            | Due::WallStep
            | Due::Sleep
            | Due::Freeze
            | Due::Monitor
            | Due::Disk { .. }
            | Due::Heal => panic!("the world does this"),
        }
    }

    /// Sprag is started.
    pub(crate) fn open(&mut self) {
        self.lives += 1;
        let (fate, now, pipeline, limits, chance) = {
            let mut world = self.shared.world.borrow_mut();
            if self.lives > plan::LIVES_MAX {
                world.heal();
            }
            world.note(Actor::World, Kind::World, format_args!("sprag starts: life {}", self.lives));
            let mut half = || world.chance.below(Actor::World, Site::Identity, u64::MAX).to_le_bytes();
            let chance = [half(), half()].as_flattened().try_into().unwrap_or_default();
            let fate = plan::fate(&mut world);
            (fate, world.now(), Arc::clone(&world.pipeline), world.limits, chance)
        };
        let fs = self.shared.begin_life(fate);
        let opened = driver::open(&fs, Arc::clone(&pipeline), limits, now, chance);
        let mut world = self.shared.world.borrow_mut();
        match opened {
            Ok(opened) => {
                world.note(Actor::Sprag, Kind::Did, format_args!("has opened its journal: epoch {}", opened.epoch));
                let context = Context {
                    fs,
                    processes: SimProcesses(Rc::downgrade(&self.shared)),
                    watch: SimWatch(Rc::downgrade(&self.shared)),
                    pipeline,
                    env: BTreeMap::new(),
                    queue_id: opened.queue_id,
                    lock: 0,
                    epoch: opened.epoch,
                };
                let writer = RefCell::new(opened.writer);
                world.recorded = Some(Recorded { epoch: opened.epoch, opened: now, whole: true });
                world.opened = true;
                world.durable = opened.driver.machine().durable_seq().0;
                world.judge_beginning();
                let recorder = RefCell::new(opened.recorder);
                world.threads = Some(Rc::new(Threads { context, writer, recorder }));
                let life = world.life;
                self.driver = Some(Box::new(opened.driver));
                world.schedule(1, Due::Tick { life });
            }
            Err(_) if world.ending.is_some() => {}
            Err(error) => {
                world.note(Actor::Sprag, Kind::Did, format_args!("cannot open: {error}"));
                let of_the_system =
                    matches!(&error, OpenError::Folder { .. } | OpenError::Journal(JournalError::Io { .. }));
                if !of_the_system || !world.excused {
                    world.fail(Check::OpensAgain.failed(format!("refuses what a crash may leave: {error}")));
                }
                world.ending = Some(End::Exit);
            }
        }
    }

    /// The driver hears something, and what it wants is done.
    fn hear(&mut self, event: Event) {
        let slept_ms = std::mem::take(&mut self.shared.world.borrow_mut().slept_ms);
        if slept_ms > 0 {
            self.hear(Event::Slept { ms: slept_ms });
        }
        let tick = matches!(event, Event::Tick);
        if let Event::Request { ticket, .. } = event {
            self.shared.world.borrow_mut().client.heard(ticket);
        }
        let Some(now) = self.about_to_hear(&event) else { return };
        let Some(mut driver) = self.driver.take() else { return };
        let before = driver.machine().verdict(now);
        driver.handle(now, event);
        let effects: Vec<Effect> = std::iter::from_fn(|| driver.poll()).collect();
        let deadline = driver.deadline(now);
        let verdicts = [driver.machine().verdict(now), before];
        self.shared.world.borrow().judge_waits(&driver, now);
        let spins = tick && self.late && effects.is_empty();
        self.spins = if spins { self.spins + 1 } else { 0 };
        let cause = self.shared.world.borrow().cause;
        for effect in effects {
            self.shared.world.borrow_mut().cause = cause;
            self.effect(effect, Some(&verdicts));
            if self.shared.world.borrow().ending.is_some() {
                self.driver = Some(driver);
                return;
            }
        }
        self.shared.world.borrow_mut().cause = cause;
        self.about_to_wait(&driver, now, deadline, &verdicts[0]);
        self.driver = Some(driver);
    }

    /// The loop is about to be told something: it takes a while, and may be its end. When it is told.
    pub(crate) fn about_to_hear(&mut self, event: &Event) -> Option<Now> {
        let mut world = self.shared.world.borrow_mut();
        world.note(Actor::Sprag, Kind::Heard, format_args!("{}", describe::Heard(event)));
        world.mark_heard(event);
        let now_us = world.now_us;
        world.pending.hears(event, now_us);
        world.journal_heard(event);
        let asked_to_stop = matches!(event, Event::Request { request: Request::Stop(_), .. });
        world.stopping |= asked_to_stop || matches!(event, Event::Stop(_));
        if let Event::Done(Done::Measured(Measured { room: Ok(room), .. })) = event {
            let least = world.pipeline.disk.min_free_bytes(room.total) / 2;
            let roomy = room.free >= least;
            if roomy && world.starts != Starts::Free {
                world.roomy_us = world.now_us;
            }
            world.starts = match world.starts {
                _ if roomy => Starts::Free,
                Starts::Free | Starts::Hold => Starts::Hold,
                Starts::HeldAfter(seq) => Starts::HeldAfter(seq),
            };
        }
        let cost_us = world.chance.span(Actor::Sprag, Site::HandleTime, 2, 200);
        world.sprag_steps(cost_us, false);
        world.end_process();
        world.ending.is_none().then(|| world.now())
    }

    /// The loop has done what there was to do and waits until `deadline`; what is seen of it then is judged.
    pub(crate) fn about_to_wait(&mut self, driver: &Driver, now: Now, deadline: Option<Mono>, verdict: &Verdict) {
        let mut world = self.shared.world.borrow_mut();
        world.judge_health(driver.machine(), verdict);
        if world.starts == Starts::Hold {
            world.starts = Starts::HeldAfter(driver.machine().last_seq().0);
        }
        world.mark_state(driver.machine(), verdict);
        if self.spins > SPINS_MAX {
            let what = format!("asks for ticks in the past, again and again: {deadline:?} at {now:?}");
            world.fail(Check::NoBusyLoop.failed(what));
        }
        if let Some(key) = self.tick.take() {
            world.unschedule(key);
        }
        self.late = deadline.is_some_and(|at| at <= now.mono);
        let late_us = world.chance.span(Actor::Sprag, Site::TickLate, 1, 2_000);
        let life = world.life;
        self.tick = deadline.map(|at| {
            let wait_us = world.at_us(at).saturating_sub(world.now_us);
            world.schedule(wait_us.saturating_add(late_us), Due::Tick { life })
        });
    }

    /// Does what the driver wants. `verdicts` are those after and before it was told why. Without them, in tier 2, what it
    /// tells of its health and to listeners is not seen, and not judged.
    pub(crate) fn effect(&mut self, effect: Effect, verdicts: Option<&[Verdict; 2]>) {
        let mut world = self.shared.world.borrow_mut();
        let kind = if describe::is_decision(&effect) { Kind::Decides } else { Kind::Wants };
        world.note(Actor::Sprag, kind, format_args!("{}", describe::Wanted(&effect)));
        world.mark_effect(&effect);
        match effect {
            Effect::Journal(work) => {
                self.idle &= !matches!(&work, JournalWork::Append(frame) if frame.n > 0);
                if let JournalWork::Append(frame) = &work {
                    world.judge_decisions(&frame.bytes);
                }
                world.write(work);
            }
            Effect::Run(task) => {
                self.idle &= !matches!(task, Task::Start { .. });
                if let Task::Status { json } | Task::CopyStatus { json } = &task
                    && let Some(verdicts) = verdicts
                {
                    world.judge_status(json, verdicts);
                }
                world.judge_task(&task);
                world.run(task);
            }
            Effect::Signal { child, kill } => {
                let threads = world.threads.clone();
                drop(world);
                if let Some(threads) = threads {
                    threads.context.processes.signal(child, kill);
                }
            }
            Effect::Answer { ticket, answer } => {
                if let Answer::Status(json) = &answer
                    && let Some(verdicts) = verdicts
                {
                    world.judge_status(json, verdicts);
                }
                world.answered(ticket, &answer);
            }
            Effect::Happened(happened) => world.judge_told(&happened),
            Effect::Say(notice) => {
                world.oracle.said(&notice);
                world.judge_publishing(&notice);
            }
            Effect::Idle => self.idle = true,
            Effect::HeldUp { .. } | Effect::GivenUp { .. } => {}
            Effect::Stopped => {
                // What cannot become durable is not answered: sprag waits no longer than it must.
                let could = world.in_flight.is_none() && world.squeezed.is_none();
                if let Some(what) = world.client.unanswered().filter(|_| could) {
                    world.fail(Check::AnsweredOnce.failed(format!("sprag stops and does not answer: {what}")));
                }
                world.judge_services_down();
                if world.healed && world.in_flight.is_none() && verdicts.is_some() {
                    let records = world.durable;
                    world.oracle.ends(records);
                }
                world.ending = Some(End::Exit);
            }
            Effect::Fatal { what } => {
                if !world.excused {
                    let what = format!("gives up its journal though nothing went wrong: {what}");
                    world.fail(Check::KeepsGoing.failed(what));
                }
                world.ending = Some(End::Exit);
            }
        }
    }
}
