//! The driver, its sources and services, with time and the watcher as arguments: a look that hangs, watching that is not to
//! be had, what holds everything up, services that fail.

#![allow(clippy::unwrap_used, reason = "only tests are here")]

use serde_json::json;
use sprag_core::{Kill, Mono, Now, Outcome, QueueConfig, Wall};
use sprag_journal::fs::Fs as _;
use sprag_journal::{Limits, RealFs, Writer};
use sprag_runtime::driver::{self, Driver, Effect, Event, HELD_UP_MS, Notice};
use sprag_runtime::pipeline::{Format, LOG_BYTES_MAX, Pipeline, QueueSpec, ServiceKind, ServiceSpec, SourceSpec};
use sprag_runtime::seams::{ChildId, Exit, Nonce, NotSpawned, Processes, SpawnSpec, Sweep, Watch};
use sprag_runtime::task::{Context, Done, Task};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use tempfile::TempDir;

/// Commands that never end; with `short`, the system has no room for any.
#[derive(Clone, Default)]
struct NoProcesses {
    short: Rc<Cell<bool>>,
}

impl Processes for NoProcesses {
    fn spawn(&self, _spec: &SpawnSpec) -> Result<(), NotSpawned> {
        if self.short.get() { Err(NotSpawned::short("no room")) } else { Ok(()) }
    }

    fn signal(&self, _child: ChildId, _kill: Kill) {}

    fn sweep(&self, _queue_id: &str, _doomed: &dyn Fn(&Nonce) -> bool) -> io::Result<Sweep> {
        Ok(Sweep::default())
    }

    fn is_free_now(&self, input: &Path) -> io::Result<bool> {
        self.is_free(input)
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
    /// How often nothing was left to do; what held that up, and what was given up, and when.
    idle: u32,
    held: Vec<(u64, Vec<String>)>,
    given_up: Vec<(u64, Vec<String>)>,
}

impl World {
    fn new(sources: &[(&str, Format)]) -> World {
        World::with(sources, None, &[])
    }

    fn with(sources: &[(&str, Format)], key: Option<&str>, services: &[(&str, ServiceKind)]) -> World {
        let dir = tempfile::tempdir().unwrap();
        let lock = dir.path().join(".sprag/lock");
        fs::create_dir(dir.path().join(".sprag")).unwrap();
        fs::write(&lock, "").unwrap();
        let policy = QueueConfig { name: "q".into(), ..QueueConfig::default() };
        let source = |(path, format): &(&str, Format)| SourceSpec {
            path: path.into(),
            format: *format,
            queue: "q".into(),
            key: key.map(str::to_owned),
        };
        let service = |(name, kind): &(&str, ServiceKind)| ServiceSpec {
            name: (*name).into(),
            command: vec!["true".into()],
            kind: *kind,
            log_bytes_max: LOG_BYTES_MAX,
        };
        let pipeline = Arc::new(Pipeline {
            sources: sources.iter().map(source).collect(),
            services: services.iter().map(service).collect(),
            stop_timeout_ms: 1_000,
            ..Pipeline::new(dir.path().into(), vec![QueueSpec::new(policy, vec!["true".into()])])
        });
        let at = Now { mono: Mono(1_000), wall: Wall(1_000) };
        let opened = driver::open(&RealFs, Arc::clone(&pipeline), Limits::default(), at, [7; 16]).unwrap();
        let context = Context {
            fs: RealFs,
            processes: NoProcesses::default(),
            watch: Refusing::default(),
            pipeline,
            env: BTreeMap::new(),
            queue_id: opened.queue_id,
            lock: RealFs.identity(&lock).unwrap(),
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
            idle: 0,
            held: Vec::new(),
            given_up: Vec::new(),
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
                Effect::Idle => self.idle += 1,
                Effect::HeldUp { by } => self.held.push((self.now_ms, by)),
                Effect::GivenUp { by } => self.given_up.push((self.now_ms, by)),
                Effect::Signal { .. } | Effect::Happened(_) | Effect::Stopped | Effect::Answer { .. } => {}
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
fn what_holds_everything_up_is_named_once_and_given_up_when_it_stays_so() {
    let mut world = World::new(&[("ideas.json", Format::JsonArray), ("later.json", Format::JsonArray)]);
    world.write("ideas.json", "[");
    world.wait(9_000);
    assert_eq!((world.idle, world.held.len(), world.given_up.len()), (0, 1, 0), "{:?}", world.held);
    let (at, by) = world.held[0].clone();
    assert!(at < 2_000 && by.len() == 1 && by[0].starts_with("ideas.json: not a whole JSON array"), "{at}: {by:?}");
    world.wait(60_000);
    assert_eq!((world.held.len(), world.given_up.len()), (1, 1), "each once: {:?}", world.given_up);
    assert_eq!(world.given_up[0], (at + HELD_UP_MS, by));

    world.write("ideas.json", "[[");
    world.wait(6_000);
    assert_eq!((world.held.len(), world.given_up.len()), (2, 1), "another fault is a change");
    world.write("ideas.json", "[]");
    world.tell(Event::Dirty { source: 1 });
    world.wait(30_000);
    assert_eq!((world.idle, world.held.len(), world.given_up.len()), (1, 2, 1), "mended: {:?}", world.held);
}

#[test]
fn what_is_not_there_yet_is_waited_for_and_what_is_gone_is_missed() {
    let mut world = World::new(&[("ideas.json", Format::JsonArray)]);
    world.wait(12_000);
    let status = world.status();
    assert_eq!((&status["health"], &status["sources"][1]["waiting"]), (&json!("well"), &json!(true)), "{status}");
    assert_eq!((&status["notes"][0], world.idle), (&json!("waiting for ideas.json to appear"), 1));
    world.write("ideas.json", "[]");
    world.wait(6_000);
    fs::remove_file(world.dir.path().join("ideas.json")).unwrap();
    world.wait(6_000);
    let status = world.status();
    assert_eq!((&status["health"], &status["reasons"][0]), (&json!("degraded"), &json!("ideas.json: no such file")));
    world.write("ideas.json", "[]");
    world.wait(6_000);
    let said: Vec<&Notice> = world.said.iter().filter(|notice| !matches!(notice, Notice::Health { .. })).collect();
    let expected = matches!(
        said.as_slice(),
        [
            Notice::Begun,
            Notice::Waiting { source: 1 },
            Notice::Appeared { source: 1 },
            Notice::Complaint { source: 1, .. },
            Notice::Mended { source: 1 },
        ]
    );
    assert!(expected, "{said:?}");
}

#[test]
fn an_item_that_changes_under_its_key_is_said_once_and_counted() {
    let mut world = World::with(&[("ideas.json", Format::JsonArray)], Some("/id"), &[]);
    let changed = |world: &World| -> Vec<(u64, bool)> {
        let jobs = world.said.iter().filter_map(|notice| match notice {
            Notice::Changed { source: 1, job, more } => Some((job.0, *more)),
            _ => None,
        });
        jobs.collect()
    };
    world.write("ideas.json", r#"[{"id": "a", "n": 1}, {"id": "b"}]"#);
    world.wait(6_000);
    assert_eq!(changed(&world), []);
    world.write("ideas.json", r#"[{"id": "b"}, {"id": "a", "n": 2}]"#);
    world.wait(6_000);
    assert_eq!((changed(&world), world.driver.intake_counts()), (vec![(1, true)], (2, 1)));
    assert_eq!(world.status()["sources"][1]["changed"], 1);
    world.write("ideas.json", r#"[{"id": "b"}, {"id": "a", "n": 3}]"#);
    world.wait(6_000);
    assert_eq!((changed(&world).len(), &world.status()["sources"][1]["changed"]), (1, &json!(1)), "once an item");
    let many = |n| (0..30).map(|id| format!(r#"{{"id": {id}, "n": {n}}}"#)).collect::<Vec<_>>().join(",");
    for n in [1, 2] {
        world.write("ideas.json", &format!("[{}]", many(n)));
        world.wait(6_000);
    }
    assert_eq!(world.status()["sources"][1]["changed"], 31);
    assert_eq!((changed(&world).len(), changed(&world)[9].1), (10, false), "not for ever");
    let notes = world.status()["notes"].to_string();
    assert!(notes.contains("ideas.json: 31 items changed after being taken"), "{notes}");
}

#[test]
fn idle_waits_for_a_file_that_is_not_yet_at_rest() {
    let mut world = World::new(&[("drafts", Format::Files)]);
    fs::create_dir(world.dir.path().join("drafts")).unwrap();
    world.write("drafts/a", "text");
    while world.driver.intake_counts() != (1, 0) {
        assert!(world.idle == 0 && world.now_ms < 10_000, "idle before the file was offered");
        world.now_ms += 50;
        world.tell(Event::Tick);
    }
}

#[test]
fn a_service_that_ends_again_and_again_is_told_until_it_has_run_for_a_minute() {
    let mut world = World::with(&[], None, &[("beat", ServiceKind::Keep)]);
    let mut run = 0;
    let mut ends = |world: &mut World, outcome| {
        run += 1;
        world.wait(10_000);
        world.tell(Event::Exited(Exit { child: ChildId::Service { index: 0, run }, outcome }));
        world.wait(1);
    };
    ends(&mut world, Outcome::Exit(0));
    ends(&mut world, Outcome::Exit(1));
    world.wait(1_500);
    assert_eq!(world.status()["health"], "well", "that may be bad luck");
    assert_eq!(world.status()["services"][0]["restarts"], 1, "it waits for its third run");
    ends(&mut world, Outcome::Signal(11));
    world.wait(1_500);
    let status = world.status();
    let reason = "service beat keeps failing (killed by SIGSEGV): see `sprag log beat`";
    assert_eq!((&status["health"], &status["reasons"][0]), (&json!("degraded"), &json!(reason)));
    let beat = &status["services"][0];
    assert_eq!((&beat["state"], &beat["last_exit"]), (&json!("waiting"), &json!("killed by SIGSEGV")), "{beat}");
    assert!(beat["next_start_at_ms"].as_u64().unwrap() > world.now_ms, "{beat}");
    world.wait(60_000);
    let status = world.status();
    assert_eq!((&status["health"], &status["services"][0]["state"]), (&json!("degraded"), &json!("running")));
    world.wait(10_000);
    assert_eq!(world.status()["health"], "well", "it has run for a minute");
}

#[test]
fn a_oneshot_that_the_system_has_no_room_for_is_told_and_tried_again() {
    let mut world = World::with(&[], None, &[("once", ServiceKind::Oneshot)]);
    world.context.processes.short.set(true);
    world.wait(5_000);
    let reason = world.status()["reasons"][0].clone();
    assert!(reason.as_str().unwrap().contains("it could not be started so far"), "{reason}");
    let said = world.said.iter().filter(|notice| matches!(notice, Notice::NotExecuted { .. })).count();
    assert_eq!((said, world.idle), (1, 0), "said once, and there is something left to do");
    world.context.processes.short.set(false);
    world.wait(2_000);
    let status = world.status();
    assert_eq!((&status["health"], &status["services"][0]["state"]), (&json!("well"), &json!("running")));
    // Its end may be heard of before its beginning.
    let child = ChildId::Service { index: 0, run: status["services"][0]["restarts"].as_u64().unwrap() as u32 + 1 };
    world.tell(Event::Exited(Exit { child, outcome: Outcome::Exit(0) }));
    world.tell(Event::Done(Done::Spawned { child }));
    world.wait(6_000);
    assert_eq!((&world.status()["services"][0]["state"], world.idle), (&json!("ended"), 1));
}
