//! Processes: how sprag starts, signals and finds them, and what the commands do.
//!
//! **Invariant.** A process outlives whoever started it, keeps its mark and the lock on its input until it is gone, and
//! goes with the machine. Only what sprag started in this life is reported when it ends. A command reads its payload, does
//! some of its work, writes its result piece by piece, and ends as its item's character says.

use crate::failure::{Check, Failure};
use crate::fs::{SimFile, SimFs};
use crate::items;
use crate::marks::Mark;
use crate::oracle::{Character, Execution, stood};
use crate::places::{Actor, Hazard, Site};
use crate::shared::Shared;
use crate::threads::Order;
use crate::trace::Kind;
use crate::world::{Due, World};
use sprag_core::{Kill, Outcome};
use sprag_journal::fs::{File, Fs, Open, write_all_at};
use sprag_runtime::seams::{ChildId, Exit, Nonce, NotSpawned, Processes, SpawnSpec, Sweep};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};

/// A command that cannot write tries again after so long.
const AGAIN_US: u64 = 100_000;
const SIGKILL: u8 = 9;
const SIGTERM: u8 = 15;
const SIGSEGV: u8 = 11;

/// A process that lives.
#[derive(Debug)]
pub struct Process {
    /// Who hears of its end: this life of sprag, under this name.
    pub(crate) child: Option<(u32, ChildId)>,
    pub(crate) nonce: Nonce,
    pub(crate) input: PathBuf,
    pub(crate) role: Role,
    /// Killed, and gone by this time.
    pub(crate) dying_us: Option<u64>,
    pub(crate) ignores_term: bool,
    /// It was stopped, and does nothing until it is continued; with whether it was asked to end meanwhile.
    pub(crate) stopped: Option<bool>,
    /// None for one that only lingers.
    work: Option<Work>,
}

/// What a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are what their names say")]
pub enum Role {
    /// A command, or what one left behind; with its place in the execution log.
    Attempt { job: u64, execution: usize },
    /// A service, and how it ends by itself if it does.
    Service { index: u16, ends: Option<Outcome> },
}

/// What a command is in the middle of.
#[derive(Debug)]
struct Work {
    fs: SimFs,
    stdin: SimFile,
    stdout: SimFile,
    stderr: SimFile,
    result: PathBuf,
    /// Into the file at `result` instead of standard output.
    into_file: bool,
    item: Option<(u8, u16)>,
    text: Vec<u8>,
    written: usize,
    piece: usize,
    ending: Ending,
}

impl Process {
    /// One that does not work on anything.
    pub(crate) fn new(child: Option<(u32, ChildId)>, nonce: Nonce, input: PathBuf, role: Role) -> Process {
        Process { child, nonce, input, role, dying_us: None, ignores_term: false, stopped: None, work: None }
    }

    fn is_of(&self, wanted: u64) -> bool {
        matches!(self.role, Role::Attempt { job, .. } if job == wanted)
    }

    /// It is a command, and nothing has ended it.
    pub fn works(&self) -> bool {
        self.work.is_some() && self.dying_us.is_none()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    With(Outcome),
    Never,
}

/// Processes as one life of sprag sees them.
#[derive(Clone, Debug)]
pub struct SimProcesses(pub Weak<Shared>);

impl SimProcesses {
    fn shared(&self) -> io::Result<Rc<Shared>> {
        self.0.upgrade().ok_or_else(|| io::Error::other("the world is over"))
    }

    fn call(&self, what: &str) -> io::Result<Rc<Shared>> {
        let shared = self.shared()?;
        shared.sprag_call(what).map_err(|end| io::Error::other(format!("sprag has ended: {end:?}")))?;
        Ok(shared)
    }
}

impl Processes for SimProcesses {
    fn spawn(&self, spec: &SpawnSpec) -> Result<(), NotSpawned> {
        let shared = self.call("forks").map_err(NotSpawned::short)?;
        let fs = {
            let mut world = shared.world.borrow_mut();
            let refused = world.strikes(Actor::Sprag, Hazard::SpawnIsRefused);
            if refused || !world.is_free(&spec.input) {
                return Err(NotSpawned::short("the system is short of something"));
            }
            world.preparing.insert(spec.input.clone());
            world.sprag_fs()
        };
        let done = prepare(&fs, spec).and_then(|()| self.call("executes"));
        let done = done.and_then(|shared| shared.world.borrow_mut().execute(spec));
        shared.world.borrow_mut().preparing.remove(&spec.input);
        done.map_err(NotSpawned::short)
    }

    fn signal(&self, child: ChildId, kill: Kill) {
        let Ok(shared) = self.call("signals") else { return };
        let mut world = shared.world.borrow_mut();
        let whom = Some((world.life, child));
        if kill == Kill::Term {
            world.judge_timeout(child);
        }
        let found = world.processes.iter_mut().find(|(_, process)| process.child == whom);
        let Some((pid, process)) = found.map(|(pid, process)| (*pid, process)) else { return };
        if let (Kill::Term, Some(asked)) = (kill, &mut process.stopped) {
            // It hears of it when it is continued.
            *asked = true;
            return world.mark(Mark::TermWhileStopped);
        }
        match kill {
            Kill::Term if process.ignores_term => world.mark(Mark::TermIgnored),
            Kill::Term => world.kill(pid, SIGTERM),
            Kill::Kill => {
                world.mark(Mark::Killed);
                world.kill(pid, SIGKILL);
            }
        }
    }

    fn sweep(&self, queue_id: &str, doomed: &dyn Fn(&Nonce) -> bool) -> io::Result<Sweep> {
        let shared = self.call("looks through the processes")?;
        let marked = |world: &World| -> Vec<(u32, Nonce)> {
            let found = world.processes.iter().filter(|(_, process)| process.nonce.queue_id == queue_id);
            let found = found.filter(|(_, process)| doomed(&process.nonce));
            found.map(|(pid, process)| (*pid, process.nonce.clone())).collect()
        };
        {
            let mut world = shared.world.borrow_mut();
            if world.strikes(Actor::Sprag, Hazard::SweepFails) {
                return Err(io::Error::from_raw_os_error(crate::fs::errno::EMFILE));
            }
            for (pid, _) in marked(&world) {
                world.mark(Mark::LeftoverFound);
                world.kill(pid, SIGKILL);
            }
        }
        self.call("looks through the processes again")?;
        let alive = marked(&shared.world.borrow()).into_iter().map(|(_, nonce)| nonce).collect();
        Ok(Sweep { alive })
    }

    fn is_free(&self, input: &Path) -> io::Result<bool> {
        let shared = self.call("tries a lock")?;
        let free = shared.world.borrow().is_free(input);
        Ok(free)
    }

    fn is_free_now(&self, input: &Path) -> io::Result<bool> {
        self.is_free(input)
    }
}

/// Takes the lock and has the files of a command ready.
fn prepare(fs: &SimFs, spec: &SpawnSpec) -> io::Result<()> {
    let input = match fs.open(&spec.input, Open::Write) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs.open(&spec.input, Open::Create)?,
        opened => opened?,
    };
    input.truncate(0)?;
    write_all_at(&input, &spec.payload, 0)?;
    fs.open(&spec.stderr, Open::Replace)?;
    if spec.stdout != spec.stderr {
        fs.open(&spec.stdout, Open::Replace)?;
    }
    Ok(())
}

impl World {
    fn is_free(&self, input: &Path) -> bool {
        !self.preparing.contains(input) && self.processes.values().all(|process| process.input != input)
    }

    fn execute(&mut self, spec: &SpawnSpec) -> io::Result<()> {
        let (job, attempt) = match spec.child {
            ChildId::Attempt { job, attempt } => (job, attempt),
            ChildId::Service { index, .. } => {
                self.serve(index, spec);
                return Ok(());
            }
        };
        let fs = self.fs.new_process();
        let work = Work {
            stdin: fs.open(&spec.input, Open::Read)?,
            stdout: fs.open(&spec.stdout, Open::Write)?,
            stderr: fs.open(&spec.stderr, Open::Write)?,
            fs,
            result: spec.env.get("SPRAG_RESULT").cloned().unwrap_or_default().into(),
            into_file: false,
            item: None,
            text: Vec::new(),
            written: 0,
            piece: 1,
            ending: Ending::Never,
        };
        let number = attempt.number;
        if self.processes.values().any(|process| process.is_of(job.0)) {
            let what = format!("attempt {number} of job {} starts while another lives", job.0);
            self.fail(Check::NoOverlap.failed(what));
        }
        let fence = spec.nonce.name.parse().unwrap_or(0);
        self.pids += 1;
        let pid = self.pids;
        self.note(Actor::Sprag, Kind::Act, format_args!("process {pid} is attempt {number} of job {}", job.0));
        let queue = spec.env.get("SPRAG_QUEUE").cloned().unwrap_or_default();
        let (at_us, awake_us, life) = (self.now_us, self.awake_us(), self.life);
        let execution = Execution {
            job: job.0,
            attempt: number,
            fence,
            at_us,
            awake_us,
            life,
            queue,
            item: None,
            outcome: None,
            held_up: false,
        };
        let calm_us = self.calm_us();
        if let Err(failure) = self.oracle.executed(execution, &self.fs, calm_us) {
            self.fail(failure);
        }
        let role = Role::Attempt { job: job.0, execution: self.oracle.executions.len() - 1 };
        let process = Process::new(Some((self.life, spec.child)), spec.nonce.clone(), spec.input.clone(), role);
        self.processes.insert(pid, Process { work: Some(work), ..process });
        self.judge_places(self.oracle.executions.len() - 1);
        let begin_us = self.chance.span(Actor::World, Site::WorkTime, 20, 2_000);
        self.schedule(begin_us, Due::Process(pid));
        Ok(())
    }

    /// A signal that cannot be ignored.
    fn kill(&mut self, pid: u32, signal: u8) {
        if self.processes.get(&pid).is_none_or(|process| process.dying_us.is_some()) {
            return;
        }
        if !self.strikes(Actor::World, Hazard::DyingTakesLong) {
            self.ended(pid, Outcome::Signal(signal));
            return;
        }
        let dying_us = self.chance.span(Actor::World, Site::DyingTime, 1_000, 3_000_000);
        self.schedule(dying_us, Due::Process(pid));
        if let Some(process) = self.processes.get_mut(&pid) {
            process.dying_us = Some(self.now_us + dying_us);
        }
    }

    fn ended(&mut self, pid: u32, outcome: Outcome) {
        if let Some(Process { role: Role::Attempt { execution, .. }, child, .. }) = self.processes.get(&pid) {
            self.holds_no_more(*execution, child.is_some_and(|(life, _)| life == self.life));
        }
        let Some(process) = self.processes.remove(&pid) else { return };
        self.note(self.actor_of(&process), Kind::Act, format_args!("process {pid} ends: {outcome:?}"));
        match process.role {
            Role::Attempt { execution, .. } if process.work.is_some() => {
                self.judge_lasted(execution);
                let asked = matches!(outcome, Outcome::Signal(SIGTERM | SIGKILL));
                self.mark_if(asked && !self.is_free(&process.input), Mark::LeftByTheEnded);
                self.oracle.executions[execution].outcome = Some(outcome);
            }
            Role::Attempt { .. } => {}
            Role::Service { index, .. } => self.service_ended(index),
        }
        let Some((life, child)) = process.child.filter(|(life, _)| *life == self.life) else { return };
        self.order(life, Order::Hear(Exit { child, outcome }));
    }

    fn actor_of(&self, process: &Process) -> Actor {
        let item = match process.role {
            Role::Attempt { execution, .. } => self.oracle.executions[execution].item,
            Role::Service { .. } => None,
        };
        item.map_or(Actor::World, |(source, item)| Actor::Item(source, item))
    }

    /// A process goes on.
    pub fn process_step(&mut self, pid: u32) {
        match self.processes.get(&pid).map(|process| process.dying_us) {
            Some(Some(dying_us)) if dying_us <= self.now_us => self.ended(pid, Outcome::Signal(SIGKILL)),
            Some(None) => self.process_works(pid),
            Some(Some(_)) | None => {}
        }
    }

    fn process_works(&mut self, pid: u32) {
        let Some(mut process) = self.processes.remove(&pid) else { return };
        let asked_to_end = process.stopped.take().unwrap_or(false);
        let next = match (&mut process.work, process.role) {
            _ if asked_to_end => Step::Ends(Outcome::Signal(SIGTERM)),
            (Some(work), Role::Attempt { execution, .. }) => self.work(execution, work),
            (None, Role::Attempt { .. }) => Step::Ends(Outcome::Exit(0)),
            (_, Role::Service { ends, .. }) => ends.map_or(Step::Hangs, Step::Ends),
        };
        process.ignores_term |= matches!(next, Step::Ignores);
        let actor = self.actor_of(&process);
        let works = process.works();
        let forks = works && matches!(next, Step::Sleeps(_)) && self.chance.one_in(actor, Site::Fork, 24);
        if works && matches!(next, Step::Sleeps(_)) && self.chance.one_in(actor, Site::Stopped, 40) {
            process.stopped = Some(false);
            self.processes.insert(pid, process);
            return self.stop_process(actor, pid);
        }
        self.processes.insert(pid, process);
        if forks {
            self.leave_grandchild(actor, pid);
        }
        match next {
            Step::Sleeps(us) => _ = self.schedule(us, Due::Process(pid)),
            Step::Hangs | Step::Ignores => self.note(actor, Kind::Act, format_args!("process {pid} hangs")),
            Step::Ends(outcome) => {
                if works && self.chance.one_in(actor, Site::Grandchild, 8) {
                    self.leave_grandchild(actor, pid);
                }
                self.ended(pid, outcome);
            }
        }
    }

    /// Somebody stops a process (SIGSTOP), and continues it later.
    fn stop_process(&mut self, actor: Actor, pid: u32) {
        let stands_us = self.chance.span(actor, Site::Stopped, 1_000, 5_000_000);
        self.mark(Mark::CommandStopped);
        self.note(actor, Kind::Fault, format_args!("process {pid} is stopped for {stands_us} us"));
        self.schedule(stands_us, Due::Process(pid));
    }

    /// Leaves the process a child in a session of its own, with its mark and its lock.
    fn leave_grandchild(&mut self, actor: Actor, parent: u32) {
        let Some(process) = self.processes.get(&parent) else { return };
        let pid = self.pids + 1;
        let child = Process::new(None, process.nonce.clone(), process.input.clone(), process.role);
        self.pids = pid;
        self.mark(Mark::GrandchildLives);
        self.processes.insert(pid, child);
        let lives_us = self.chance.span(actor, Site::Grandchild, 1_000, 3_000_000);
        self.note(actor, Kind::Act, format_args!("process {parent} leaves process {pid} behind"));
        self.schedule(lives_us, Due::Process(pid));
    }

    fn work(&mut self, execution: usize, work: &mut Work) -> Step {
        let Some((source, item)) = work.item else {
            return match self.begin(execution, work) {
                Ok(step) => step,
                Err(failure) => {
                    self.fail(failure);
                    Step::Hangs
                }
            };
        };
        let actor = Actor::Item(source, item);
        if work.written < work.text.len() {
            let end = (work.written + work.piece).min(work.text.len());
            return match work.write(end) {
                Ok(n) => {
                    work.written += n;
                    Step::Sleeps(self.chance.span(actor, Site::WorkTime, 50, 300_000))
                }
                Err(_) => {
                    self.oracle.executions[execution].held_up = true;
                    Step::Sleeps(AGAIN_US)
                }
            };
        }
        match work.ending {
            Ending::With(outcome) => Step::Ends(outcome),
            Ending::Never if self.chance.below(actor, Site::Failure, 2) == 1 => Step::Ignores,
            Ending::Never => Step::Hangs,
        }
    }

    /// Reads the payload, and decides what will become of this execution.
    fn begin(&mut self, execution: usize, work: &mut Work) -> Result<Step, Failure> {
        let mut payload = vec![0; 1 << 12];
        let read = work.stdin.read_at(&mut payload, 0).map(|n| String::from_utf8_lossy(&payload[..n]).into_owned());
        let payload = read.unwrap_or_else(|error| error.to_string());
        let found = items::of_payload(&payload).filter(|item| stood(&self.producers, &self.client, *item));
        let Some((source, item)) = found else {
            let what = format!("execution {execution} was given what never stood in a whole file: {payload}");
            return Err(Check::PayloadWhole.failed(what));
        };
        let actor = Actor::Item(source, item);
        let before = self.oracle.executions.iter().filter(|other| other.item == found).count() as u64;
        let character = self.oracle.character(&mut self.chance, source, item);
        self.oracle.executions[execution].item = found;
        work.item = found;
        work.ending = match character {
            Character::SucceedsAfter(failures) if before >= failures => Ending::With(Outcome::Exit(0)),
            Character::SucceedsAfter(_) => match self.chance.below(actor, Site::Failure, 4) {
                0 | 1 => Ending::With(Outcome::Exit(1)),
                2 => Ending::With(Outcome::Signal(SIGSEGV)),
                _ => Ending::Never,
            },
            Character::Permanent => Ending::With(Outcome::Exit(64)),
            Character::Hopeless => Ending::With(Outcome::Exit(1)),
        };
        let fence = self.oracle.executions[execution].fence;
        work.text = result_text(source, item, fence).into_bytes();
        work.piece = work.text.len().div_ceil(1 + self.chance.below(actor, Site::WorkSteps, 4) as usize);
        work.into_file = self.chance.below(actor, Site::Manner, 2) == 1;
        if self.chance.below(actor, Site::Manner, 2) == 1 {
            // What cannot be said on standard error is not said.
            let _ = work.stderr.len().and_then(|end| work.stderr.write_at(b"at work\n", end));
        }
        self.note(actor, Kind::Step, format_args!("execution {} of this item begins", before + 1));
        Ok(Step::Sleeps(self.chance.span(actor, Site::WorkTime, 50, 300_000)))
    }
}

/// What an execution writes as its result.
pub fn result_text(source: u8, item: u16, fence: u64) -> String {
    format!("result of {}-{item} under fence {fence}\n", crate::trace::name_of(source))
}

/// What follows a step of a command.
enum Step {
    Sleeps(u64),
    Hangs,
    /// As well, and TERM does not end it.
    Ignores,
    Ends(Outcome),
}

impl Work {
    fn write(&self, end: usize) -> io::Result<usize> {
        let bytes = &self.text[self.written..end];
        if !self.into_file {
            return self.stdout.write_at(bytes, self.stdout.len()?);
        }
        let file = self.fs.open(&self.result, if self.written == 0 { Open::Replace } else { Open::Write })?;
        file.write_at(bytes, self.written as u64)
    }
}
