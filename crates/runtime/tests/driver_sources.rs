//! The driver and its sources, with time and the watcher as arguments: a look that hangs, and watching that is not to be had.

#![allow(clippy::unwrap_used, reason = "only tests are here")]

use serde_json::json;
use sprag_core::{Kill, Mono, Now, QueueConfig, SpawnFailure, Wall};
use sprag_journal::{Limits, RealFs, Writer};
use sprag_runtime::driver::{self, Driver, Effect, Event, Notice};
use sprag_runtime::pipeline::{Format, Pipeline, QueueSpec, SourceSpec};
use sprag_runtime::seams::{ChildId, Nonce, Processes, SpawnSpec, Sweep, Watch};
use sprag_runtime::task::{Context, Done, Task};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use tempfile::TempDir;

/// Commands that never end.
#[derive(Clone)]
struct NoProcesses;

impl Processes for NoProcesses {
    fn spawn(&self, _spec: &SpawnSpec) -> Result<(), SpawnFailure> {
        Ok(())
    }

    fn signal(&self, _child: ChildId, _kill: Kill) {}

    fn sweep(&self, _queue_id: &str, _doomed: &dyn Fn(&Nonce) -> bool) -> io::Result<Sweep> {
        Ok(Sweep::default())
    }

    fn is_free(&self, _input: &Path) -> io::Result<bool> {
        Ok(true)
    }
}

/// A watcher that refuses folders of a name, and tells of nothing.
#[derive(Clone, Default)]
struct Refusing {
    name: Rc<Cell<Option<&'static str>>>,
    armed: Rc<RefCell<Vec<PathBuf>>>,
}

impl Watch for Refusing {
    fn arm(&self, _index: u16, path: &Path) -> io::Result<()> {
        self.armed.borrow_mut().push(path.to_owned());
        let folder = path.parent().unwrap();
        match self.name.get().filter(|name| folder.ends_with(name)) {
            Some(name) => Err(io::Error::other(format!("no watch left for {name}"))),
            None => Ok(()),
        }
    }
}

struct World {
    dir: TempDir,
    driver: Driver,
    writer: Writer<RealFs>,
    context: Context<RealFs, NoProcesses, Refusing>,
    now_ms: u64,
    /// Looks at this source do not come back.
    hung_source: Option<u16>,
    hung: Vec<Task>,
    /// Looks begun, and how often the watcher was asked, by source.
    looks: BTreeMap<u16, u32>,
    arms: BTreeMap<u16, u32>,
    said: Vec<Notice>,
}

impl World {
    fn new(sources: &[(&str, Format)]) -> World {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(".sprag")).unwrap();
        let policy = QueueConfig { name: "q".into(), ..QueueConfig::default() };
        let source = |(path, format): &(&str, Format)| SourceSpec {
            path: path.into(),
            format: *format,
            queue: "q".into(),
            key: None,
        };
        let pipeline = Arc::new(Pipeline {
            dir: dir.path().into(),
            queues: vec![QueueSpec { policy, command: vec!["true".into()], output: None }],
            sources: sources.iter().map(source).collect(),
            services: Vec::new(),
            env_allow: Vec::new(),
            limits: sprag_core::Limits::default(),
            stop_timeout_ms: 1_000,
        });
        let at = Now { mono: Mono(1_000), wall: Wall(1_000) };
        let opened = driver::open(&RealFs, Arc::clone(&pipeline), Limits::default(), at, [7; 16]).unwrap();
        let context = Context {
            fs: RealFs,
            processes: NoProcesses,
            watch: Refusing::default(),
            pipeline,
            env: BTreeMap::new(),
            queue_id: opened.queue_id,
            epoch: opened.epoch,
        };
        let (driver, writer) = (opened.driver, opened.writer);
        let (looks, arms) = (BTreeMap::new(), BTreeMap::new());
        World {
            dir,
            driver,
            writer,
            context,
            now_ms: 1_000,
            hung_source: None,
            hung: Vec::new(),
            looks,
            arms,
            said: Vec::new(),
        }
    }

    fn now(&self) -> Now {
        Now { mono: Mono(self.now_ms), wall: Wall(self.now_ms) }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).unwrap();
    }

    fn tell(&mut self, event: Event) {
        let now = self.now();
        self.driver.handle(now, event);
        let mut effects = 0;
        while let Some(effect) = self.driver.poll() {
            effects += 1;
            assert!(effects < 1_000, "the driver is busy with itself");
            match effect {
                Effect::Journal(work) => {
                    let committed = driver::journal_step(&mut self.writer, work);
                    self.driver.handle(now, Event::Journal(committed));
                }
                Effect::Run(task) => self.run(task),
                Effect::Say(notice) => self.said.push(notice),
                Effect::Signal { .. }
                | Effect::Happened(_)
                | Effect::Idle
                | Effect::Stopped
                | Effect::Answer { .. } => {}
                Effect::Fatal { what } => panic!("{what}"),
            }
        }
    }

    fn run(&mut self, task: Task) {
        match &task {
            Task::Look { source, .. } => *self.looks.entry(*source).or_default() += 1,
            Task::Arm { source } => *self.arms.entry(*source).or_default() += 1,
            _ => {}
        }
        let hangs =
            matches!(&task, Task::Look { source, .. } | Task::Arm { source } if Some(*source) == self.hung_source);
        if hangs {
            self.hung.push(task);
        } else {
            self.answer(task);
        }
    }

    fn answer(&mut self, task: Task) {
        let done = self.context.run(task);
        let now = self.now();
        self.driver.handle(now, Event::Done(done));
    }

    /// Time passes, and the driver is woken whenever it wants to be.
    fn wait(&mut self, ms: u64) {
        let (end, mut turns) = (self.now_ms + ms, 0);
        self.tell(Event::Tick);
        while let Some(at) = self.driver.deadline(self.now()).map(|at| at.0.max(self.now_ms)).filter(|at| *at <= end) {
            self.now_ms = at;
            self.tell(Event::Tick);
            turns += 1;
            assert!(turns < ms.max(1_000), "the driver is busy with nothing: {turns} turns in {ms} ms");
        }
        self.now_ms = end;
        self.tell(Event::Tick);
    }

    fn status(&self) -> serde_json::Value {
        serde_json::from_str(&fs::read_to_string(self.dir.path().join(".sprag/status.json")).unwrap()).unwrap()
    }

    fn polling(&self) -> Vec<(u16, &str)> {
        let mut polling = Vec::new();
        for notice in &self.said {
            if let Notice::Polling { source, what } = notice {
                polling.push((*source, what.as_str()));
            }
        }
        polling
    }

    fn mended(&self) -> usize {
        self.said.iter().filter(|notice| matches!(notice, Notice::Mended { .. })).count()
    }
}

#[test]
fn a_look_that_hangs_holds_up_nothing_else_and_its_answer_is_taken() {
    let mut world = World::new(&[("dead.json", Format::JsonArray), ("good.json", Format::JsonArray)]);
    world.write("dead.json", "[1]");
    world.write("good.json", "[2]");
    world.wait(100);
    assert_eq!(world.driver.intake_counts(), (2, 0));
    assert_eq!(world.status()["health"], "well");

    world.hung_source = Some(1);
    world.write("dead.json", "[1, 3]");
    world.tell(Event::Dirty { source: 1 });
    let begun = world.looks[&1];
    world.write("good.json", "[2, 4]");
    world.tell(Event::Dirty { source: 2 });
    assert_eq!(world.driver.intake_counts(), (3, 0), "the other source goes on");
    (0..40).for_each(|_| {
        world.wait(1_000);
        world.tell(Event::Dirty { source: 1 });
    });
    assert_eq!((world.looks[&1], world.hung.len()), (begun, 1), "no second look begins");
    assert!(world.looks[&2] > 8, "the other one is looked at again and again");
    let status = world.status();
    assert_eq!(status["health"], "stalled");
    let reason = status["reasons"][0].as_str().unwrap();
    assert!(reason.starts_with("dead.json could not be read for 3"), "{reason}");
    let is_health = |notice: &&Notice| matches!(notice, Notice::Health { .. });
    assert_eq!(world.said.iter().filter(is_health).count(), 1, "said once: {:?}", world.said);

    world.hung_source = None;
    let hung = world.hung.pop().unwrap();
    world.answer(hung);
    world.wait(6_000);
    assert_eq!(world.driver.intake_counts(), (4, 0), "its answer is taken");
    assert_eq!(world.status()["health"], "well");
    assert!(world.looks[&1] > begun);
}

#[test]
fn arming_that_hangs_is_named_as_well() {
    let mut world = World::new(&[("dead.json", Format::JsonArray)]);
    world.hung_source = Some(1);
    world.wait(40_000);
    assert_eq!((world.looks.get(&1), world.arms[&1]), (None, 1));
    assert_eq!(world.status()["health"], "stalled");
    world.hung_source = None;
    world.write("dead.json", "[1]");
    let hung = world.hung.pop().unwrap();
    world.answer(hung);
    world.wait(6_000);
    assert_eq!((world.driver.intake_counts(), &world.status()["health"]), ((1, 0), &json!("well")));
}

#[test]
fn what_cannot_be_watched_is_polled_aloud_and_heals() {
    let mut world = World::new(&[("ideas.json", Format::JsonArray)]);
    let folder = world.dir.path().file_name().unwrap().to_str().unwrap().to_owned();
    world.context.watch.name.set(Some(folder.leak()));
    world.write("ideas.json", "[1]");
    world.wait(20_000);
    assert_eq!(world.polling().len(), 1, "said once: {:?}", world.said);
    assert_eq!(world.polling()[0].0, 1);
    let why = world.status()["sources"][1]["polled"].clone();
    assert!(why.as_str().unwrap().starts_with("no watch left for"), "{why}");
    assert!((9..=12).contains(&world.looks[&1]), "every 2 s: {} looks", world.looks[&1]);
    assert!((9..=11).contains(&world.arms[&1]), "and watching is tried each time: {} times", world.arms[&1]);
    assert_eq!(world.status()["sources"][0].get("polled"), None, "the drop-box is watched");
    world.write("ideas.json", "[1, 2]");
    world.wait(2_000);
    assert_eq!(world.driver.intake_counts(), (2, 0), "found by polling");

    world.context.watch.name.set(None);
    world.wait(8_000);
    assert_eq!((world.mended(), world.status()["sources"][1].get("polled")), (1, None));
    let arms = world.arms[&1];
    world.wait(20_000);
    assert_eq!(world.arms[&1], arms, "it is watched and asked no more");
    assert_eq!(world.polling().len(), 1);
}

#[test]
fn one_folder_that_cannot_be_watched_makes_its_source_polled() {
    let mut world = World::new(&[("drafts", Format::Files)]);
    fs::create_dir_all(world.dir.path().join("drafts/sub/deep")).unwrap();
    world.context.watch.name.set(Some("sub"));
    world.write("drafts/sub/deep/a", "text");
    world.wait(600);
    assert_eq!(world.driver.intake_counts(), (1, 0), "offered as soon as it is at rest");
    let armed = |name: &str| world.context.watch.armed.borrow().contains(&world.dir.path().join("drafts").join(name));
    assert!(["*", "sub/*", "sub/deep/*"].into_iter().all(armed), "{:?}", world.context.watch.armed.borrow());
    world.wait(20_000);
    assert_eq!(world.polling(), [(1, "no watch left for sub")]);
    assert!((9..=15).contains(&world.looks[&1]), "every 2 s: {} looks", world.looks[&1]);
    world.context.watch.name.set(None);
    world.wait(8_000);
    assert_eq!((world.mended(), world.status()["sources"][1].get("polled")), (1, None));
}

#[test]
fn a_folder_that_comes_back_is_watched_again() {
    let mut world = World::new(&[("in/ideas.json", Format::JsonArray)]);
    fs::create_dir(world.dir.path().join("in")).unwrap();
    world.write("in/ideas.json", "[1]");
    world.wait(6_000);
    let arms = world.arms[&1];
    fs::remove_dir_all(world.dir.path().join("in")).unwrap();
    world.wait(12_000);
    assert!(world.arms[&1] > arms, "missing: perhaps the watch is gone too");
    let looks = world.looks[&1];
    world.wait(20_000);
    assert!(world.looks[&1] <= looks + 8, "and it is not looked for in haste: {} looks", world.looks[&1] - looks);
}

#[test]
fn idle_waits_for_a_file_that_is_not_yet_at_rest() {
    let mut world = World::new(&[("drafts", Format::Files)]);
    fs::create_dir(world.dir.path().join("drafts")).unwrap();
    world.write("drafts/a", "text");
    let mut idle_at = None;
    while idle_at.is_none() && world.now_ms < 10_000 {
        world.now_ms += 50;
        let now = world.now();
        world.driver.handle(now, Event::Tick);
        while let Some(effect) = world.driver.poll() {
            match effect {
                Effect::Journal(work) => {
                    let committed = driver::journal_step(&mut world.writer, work);
                    world.driver.handle(now, Event::Journal(committed));
                }
                Effect::Run(Task::Start { job, attempt, .. }) => {
                    let child = ChildId::Attempt { job, number: attempt.number };
                    world.driver.handle(now, Event::Done(Done::Spawned { child }));
                }
                Effect::Run(task) => world.run(task),
                Effect::Idle => idle_at = Some(world.driver.intake_counts()),
                Effect::Say(_)
                | Effect::Signal { .. }
                | Effect::Happened(_)
                | Effect::Stopped
                | Effect::Answer { .. } => {}
                Effect::Fatal { what } => panic!("{what}"),
            }
        }
        if world.driver.intake_counts() == (1, 0) {
            return;
        }
    }
    panic!("idle with {idle_at:?} before the file was offered");
}
