//! What clients ask of the driver, with the real Machine and a real journal, and the disk's answers held back at will.

#![expect(clippy::unwrap_used, reason = "a test ends where anything fails")]

use sprag_core::{
    JobId, Mono, Now, Outcome, QueueConfig, Refusal, Reply, RetryPolicy, SpawnFailure, StateName, StopLevel, Wall,
};
use sprag_journal::{RealFs, Writer};
use sprag_runtime::driver::{self, Driver, Effect, Event, Happened, JournalWork, Notice};
use sprag_runtime::listing::Which;
use sprag_runtime::pipeline::{Pipeline, QueueSpec};
use sprag_runtime::request::{Add, Answer, Request, Ticket};
use sprag_runtime::seams::{ChildId, Exit};
use sprag_runtime::task::{Done, Task};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// A driver whose frames are written when the test says so, and whose commands all do as the test says.
struct World {
    driver: Driver,
    writer: Writer<RealFs>,
    frames: Vec<JournalWork>,
    starts: Vec<Task>,
    /// What reads for clients is under way, and told when the test says so.
    reads: Option<Vec<(Ticket, Answer)>>,
    answers: BTreeMap<u64, Answer>,
    happened: Vec<Happened>,
    last_ticket: u64,
    stopped: bool,
    said: Vec<Notice>,
    _dir: tempfile::TempDir,
}

const NOW: Now = Now { mono: Mono(1_000), wall: Wall(1_000_000) };

fn pipeline(dir: &Path) -> Pipeline {
    let retry = RetryPolicy { attempts: 1, ..RetryPolicy::default() };
    let policy = QueueConfig { name: "q".into(), concurrency: 100, retry, ..QueueConfig::default() };
    Pipeline { stop_timeout_ms: 1_000, ..Pipeline::new(dir.into(), vec![QueueSpec::new(policy, vec!["true".into()])]) }
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(".sprag")).unwrap();
        let pipeline = Arc::new(pipeline(dir.path()));
        let opened = driver::open(&RealFs, pipeline, sprag_journal::Limits::default(), NOW, [7; 16]).unwrap();
        let mut world = World {
            driver: opened.driver,
            writer: opened.writer,
            frames: Vec::new(),
            starts: Vec::new(),
            reads: None,
            answers: BTreeMap::new(),
            happened: Vec::new(),
            last_ticket: 0,
            stopped: false,
            said: Vec::new(),
            _dir: dir,
        };
        world.handle(Event::Tick);
        world.commit();
        world
    }

    fn handle(&mut self, event: Event) {
        self.driver.handle(NOW, event);
        while let Some(effect) = self.driver.poll() {
            match effect {
                Effect::Journal(work) => self.frames.push(work),
                Effect::Run(task @ Task::Start { .. }) => self.starts.push(task),
                Effect::Run(Task::Tell { ticket, answer }) => match &mut self.reads {
                    Some(reads) => reads.push((ticket, answer)),
                    None => self.driver.handle(NOW, Event::Done(Done::Told { ticket, answer })),
                },
                Effect::Say(notice) => self.said.push(notice),
                Effect::Happened(told) => {
                    let durable = self.driver.machine().durable_seq();
                    assert!(told.iter().all(|event| event.seq <= durable), "told before it is durable: {told:?}");
                    self.happened.extend(told);
                }
                Effect::Run(_) | Effect::Signal { .. } | Effect::Idle => {}
                Effect::HeldUp { .. } | Effect::GivenUp { .. } => {}
                Effect::Answer { ticket, answer } => {
                    let before = self.answers.insert(ticket.0, answer);
                    assert_eq!(before, None, "request {} was answered twice", ticket.0);
                }
                Effect::Stopped => self.stopped = true,
                Effect::Fatal { what } => panic!("{what}"),
            }
        }
    }

    fn ask(&mut self, request: Request) -> u64 {
        self.last_ticket += 1;
        self.handle(Event::Request { ticket: Ticket(self.last_ticket), request });
        self.last_ticket
    }

    fn add(&mut self, json: &str) -> u64 {
        self.ask(Request::Add(Box::new(Add::parse(Some("q"), json.as_bytes()).unwrap())))
    }

    /// The disk catches up with everything.
    fn commit(&mut self) {
        while !self.frames.is_empty() {
            self.commit_one();
        }
    }

    /// What nobody waited for becomes durable too.
    fn settle(&mut self) {
        self.ask(Request::Job(JobId(1)));
        self.commit();
    }

    /// The disk catches up with one frame.
    fn commit_one(&mut self) {
        let work = self.frames.remove(0);
        let committed = driver::journal_step(&mut self.writer, work);
        self.handle(Event::Journal(committed));
    }

    /// Every command that was started ends so.
    fn end_all(&mut self, outcome: Outcome) {
        for task in std::mem::take(&mut self.starts) {
            let Task::Start { job, attempt, .. } = task else { continue };
            let child = ChildId::Attempt { job, attempt };
            self.handle(Event::Done(Done::Spawned { child }));
            self.handle(Event::Exited(Exit { child, outcome }));
            self.handle(Event::Done(Done::Settled { job, attempt, outcome, result: None, gone: true, kept_bytes: 0 }));
        }
        self.commit();
    }

    fn reply(&self, ticket: u64) -> Option<Reply> {
        match self.answers.get(&ticket)? {
            Answer::Reply(reply) => Some(*reply),
            other => panic!("{other:?}"),
        }
    }

    fn state(&mut self, job: u64) -> &'static str {
        let ticket = self.ask(Request::Job(JobId(job)));
        self.commit();
        match self.answers.get(&ticket) {
            Some(Answer::Job(view)) => view.state,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn requests_that_come_together_share_a_frame() {
    let mut world = World::new();
    let asked = |n: u64| {
        let add = Add::parse(Some("q"), format!("{{\"payload\":{n},\"delay_ms\":1000}}").as_bytes()).unwrap();
        Event::Request { ticket: Ticket(n), request: Request::Add(Box::new(add)) }
    };
    world.driver.handle_all(NOW, (1..=5).map(asked));
    world.handle(Event::Tick);
    let [JournalWork::Append(frame)] = &*world.frames else { panic!("{:?}", world.frames) };
    assert_eq!((frame.n, world.answers.len()), (5, 0));
    world.commit();
    assert_eq!(world.answers.len(), 5);
}

#[test]
fn an_add_is_answered_when_it_is_durable_and_once() {
    let mut world = World::new();
    let first = world.add(r#"{"payload":1,"key":"k"}"#);
    let same = world.add(r#"{"payload": 1, "key":"k"}"#);
    let other = world.add(r#"{"payload":2,"key":"k"}"#);
    let keyless = [world.add(r#"{"payload":1}"#), world.add(r#"{"payload":1}"#)];
    let view = world.ask(Request::Job(JobId(1)));
    assert!(world.answers.is_empty(), "before the disk has answered: {:?}", world.answers);
    world.commit();
    let replies = [first, same, other].map(|ticket| world.reply(ticket).unwrap());
    assert_eq!(replies, [Reply::Added(JobId(1)), Reply::Known(JobId(1)), Reply::Conflict(JobId(1))]);
    assert_eq!(keyless.map(|ticket| world.reply(ticket)), [2, 3].map(|job| Some(Reply::Added(JobId(job)))));
    let Answer::Job(view) = &world.answers[&view] else { panic!("no view") };
    let expected = r#"{"job":1,"queue":"q","state":"running","attempt":1,"failures":0,"priority":0,"slot":0}"#;
    assert_eq!(serde_json::to_string(view).unwrap(), expected);
}

#[test]
fn status_is_told_though_the_disk_sleeps_and_a_flood_is_told_to_wait() {
    let mut world = World::new();
    let pause = world.ask(Request::Pause { queue: "q".into() });
    let mut busy = 0;
    let tickets: Vec<u64> = (0..70_000).map(|_| world.add(r#"{"payload":0}"#)).collect();
    let status = world.ask(Request::Status);
    let Answer::Status(json) = &world.answers[&status] else { panic!("no status") };
    let json: serde_json::Value = serde_json::from_slice(json).unwrap();
    assert_eq!((&json["queues"][0]["name"], &json["queues"][0]["paused"]), (&"q".into(), &true.into()), "{json}");
    for ticket in &tickets {
        busy += u64::from(world.answers.get(ticket) == Some(&Answer::Busy));
    }
    assert_eq!(busy, 70_000 - 65_535);
    world.commit();
    let added = tickets.iter().filter(|ticket| matches!(world.answers[ticket], Answer::Reply(Reply::Added(_)))).count();
    assert_eq!((world.reply(pause), added), (Some(Reply::Done), 65_535));
    let again = world.add(r#"{"payload":0}"#);
    world.commit();
    assert!(matches!(world.reply(again), Some(Reply::Added(_))), "the flood is over");
}

#[test]
fn cancel_and_retry_say_what_the_state_allows() {
    let mut world = World::new();
    let (ready, running) = (2, 1);
    world.add(r#"{"payload":1}"#);
    world.add(r#"{"payload":2,"delay_ms":1000000}"#);
    world.commit();
    let (done, refused) = (Answer::Reply(Reply::Done), |refusal| Answer::Reply(Reply::Refused(refusal)));
    for (request, expected) in [
        (Request::Cancel(JobId(9)), refused(Refusal::NoSuchJob)),
        (Request::Retry(JobId(running)), Answer::WrongState(StateName::Running)),
        (Request::Retry(JobId(ready)), Answer::WrongState(StateName::Scheduled)),
        (Request::Cancel(JobId(ready)), done.clone()),
        (Request::Cancel(JobId(ready)), Answer::WrongState(StateName::Cancelled)),
        (Request::Cancel(JobId(running)), done),
        (Request::Pause { queue: "nobody".into() }, refused(Refusal::NoSuchQueue)),
        (Request::RetryDead { queue: "nobody".into() }, refused(Refusal::NoSuchQueue)),
        (Request::Queues { queue: Some("nobody".into()) }, refused(Refusal::NoSuchQueue)),
    ] {
        let ticket = world.ask(request.clone());
        world.commit();
        assert_eq!(world.answers[&ticket], expected, "{request:?}");
    }
    assert_eq!(world.state(ready), "cancelled");
    world.end_all(Outcome::Signal(15));
    assert_eq!(world.state(running), "cancelled");
    let retry = world.ask(Request::Retry(JobId(ready)));
    world.commit();
    assert_eq!((world.reply(retry), world.state(ready)), (Some(Reply::Done), "running"));
}

/// All pages of a listing: how many jobs each has.
fn pages(world: &mut World, which: &Which, limit: usize) -> (Vec<usize>, Vec<u64>) {
    let (mut sizes, mut jobs, mut after) = (Vec::new(), Vec::new(), JobId(0));
    loop {
        let ticket = world.ask(Request::Jobs { which: which.clone(), after, limit });
        world.commit();
        let Answer::Jobs(page) = world.answers[&ticket].clone() else { panic!("no page") };
        sizes.push(page.jobs.len());
        jobs.extend(page.jobs.iter().map(|view| view.job));
        let Some(next) = page.next else { return (sizes, jobs) };
        assert!(next > after, "it goes on");
        after = next;
    }
}

#[test]
fn a_listing_is_bounded_in_what_it_takes_and_in_what_it_looks_at() {
    let mut world = World::new();
    let pause = world.ask(Request::Pause { queue: "q".into() });
    for _ in 0..25_000 {
        world.add(r#"{"payload":0}"#);
    }
    world.commit();
    assert_eq!(world.reply(pause), Some(Reply::Done));
    let cancel = world.ask(Request::Cancel(JobId(24_000)));
    world.commit();
    assert_eq!(world.reply(cancel), Some(Reply::Done));
    let all = pages(&mut world, &Which::default(), usize::MAX);
    assert_eq!((all.0.len(), all.1), (50, (1..=25_000).collect::<Vec<u64>>()));
    let cancelled = Which { queue: Some("q".into()), state: Some(StateName::Cancelled) };
    assert_eq!(pages(&mut world, &cancelled, usize::MAX), (vec![0, 0, 1], vec![24_000]));
    let few = Request::Jobs { which: Which::default(), after: JobId(64), limit: 3 };
    let ticket = world.ask(few);
    let Answer::Jobs(page) = &world.answers[&ticket] else { panic!("no page") };
    assert_eq!(page.jobs.iter().map(|view| view.job).collect::<Vec<_>>(), [65, 66, 67]);
    assert_eq!(page.next, Some(JobId(67)));
    let nobody = Which { queue: Some("nobody".into()), state: None };
    let ticket = world.ask(Request::Jobs { which: nobody, after: JobId(0), limit: 1 });
    assert_eq!(world.reply(ticket), Some(Reply::Refused(Refusal::NoSuchQueue)));
}

#[test]
fn a_listing_says_nothing_that_is_not_durable() {
    let mut world = World::new();
    world.add(r#"{"payload":1}"#);
    let ticket = world.ask(Request::Jobs { which: Which::default(), after: JobId(0), limit: 9 });
    assert_eq!(world.answers.get(&ticket), None);
    world.commit();
    let Answer::Jobs(page) = &world.answers[&ticket] else { panic!("no page") };
    assert_eq!(page.jobs.len(), 1);
}

#[test]
fn all_dead_jobs_of_a_queue_are_retried_and_counted() {
    let mut world = World::new();
    let none = world.ask(Request::RetryDead { queue: "q".into() });
    assert_eq!(world.answers[&none], Answer::Retried { jobs: 0 });
    for _ in 0..20 {
        world.add(r#"{"payload":1}"#);
    }
    world.commit();
    world.end_all(Outcome::Exit(1));
    assert_eq!(world.state(20), "dead");
    // One frame in flight, and behind it so much that only some of the jobs fit into the next one.
    world.add(r#"{"payload":1}"#);
    world.add(&format!(r#"{{"payload":"{}"}}"#, "x".repeat((1 << 19) - 500)));
    let retry = world.ask(Request::RetryDead { queue: "q".into() });
    world.commit_one();
    world.commit_one();
    assert!(!world.answers.contains_key(&retry), "before all of it is durable");
    world.commit();
    assert_eq!(world.answers[&retry], Answer::Retried { jobs: 20 });
    world.end_all(Outcome::Exit(0));
    assert_eq!((world.state(1), world.state(20)), ("succeeded", "succeeded"));
}

#[test]
fn a_drain_lets_run_what_runs_and_takes_nothing_new() {
    let mut world = World::new();
    world.add(r#"{"payload":1}"#);
    world.commit();
    let drain = world.ask(Request::Stop(StopLevel::Drain));
    assert_eq!(world.reply(drain), Some(Reply::Done));
    let late = world.add(r#"{"payload":2}"#);
    world.commit();
    assert_eq!(world.reply(late), Some(Reply::Refused(Refusal::Stopping)));
    assert!(!world.stopped);
    world.end_all(Outcome::Exit(0));
    assert!(world.stopped);
}

#[test]
fn the_end_waits_for_those_who_asked_before_it() {
    let mut world = World::new();
    world.add(r#"{"payload":1}"#);
    world.commit();
    world.reads = Some(Vec::new());
    world.ask(Request::Stop(StopLevel::Drain));
    let view = world.ask(Request::Job(JobId(1)));
    world.end_all(Outcome::Exit(0));
    assert!(!world.stopped && !world.answers.contains_key(&view), "what it asks is being read");
    for (ticket, answer) in world.reads.take().unwrap() {
        world.handle(Event::Done(Done::Told { ticket, answer }));
    }
    assert!(world.stopped && world.answers.contains_key(&view));
}

/// Said in the order in which it happened, and only what did.
#[test]
fn a_start_is_said_when_the_command_was_executed_and_not_when_it_was_given_back() {
    let begun = |world: &World| -> Vec<&str> {
        let words = world.said.iter().filter_map(|notice| match notice {
            Notice::Started { .. } => Some("started"),
            Notice::Finished { .. } => Some("finished"),
            Notice::Dead { .. } => Some("dead"),
            _ => None,
        });
        words.collect()
    };
    let mut world = World::new();
    world.add(r#"{"payload":1}"#);
    world.ask(Request::Stop(StopLevel::Drain));
    world.commit();
    assert!(world.stopped && world.starts.is_empty(), "the start was given back");
    assert_eq!(begun(&world), [""; 0]);

    let mut world = World::new();
    world.add(r#"{"payload":1}"#);
    world.commit();
    assert_eq!(begun(&world), [""; 0], "it may start, and has not yet");
    world.end_all(Outcome::Exit(0));
    world.settle();
    assert_eq!(begun(&world), ["started", "finished"]);

    world.add(r#"{"payload":2}"#);
    world.commit();
    let Some(Task::Start { job, attempt, .. }) = world.starts.pop() else { panic!("no start") };
    let (outcome, child) = (Outcome::Exit(0), ChildId::Attempt { job, attempt });
    world.handle(Event::Done(Done::Settled { job, attempt, outcome, result: None, gone: true, kept_bytes: 0 }));
    world.handle(Event::Done(Done::Spawned { child }));
    world.settle();
    assert_eq!(begun(&world)[2..], ["started", "finished"], "heard of the wrong way round");

    world.add(r#"{"payload":3}"#);
    world.commit();
    let Some(Task::Start { job, attempt, .. }) = world.starts.pop() else { panic!("no start") };
    let (failure, child) = (SpawnFailure::NotFound, ChildId::Attempt { job, attempt });
    world.handle(Event::Done(Done::SpawnFailed { child, failure, why: String::new() }));
    world.settle();
    assert_eq!(begun(&world)[4..], ["dead"], "what does not exist does not start");
}

#[test]
fn a_queue_that_nobody_configured_takes_no_job() {
    let mut world = World::new();
    let add = Add::parse(Some("nobody"), br#"{"payload":1}"#).unwrap();
    let ticket = world.ask(Request::Add(Box::new(add)));
    assert_eq!(world.reply(ticket), Some(Reply::Refused(Refusal::NoSuchQueue)));
    assert!(world.driver.machine().queues().all(|queue| queue.name != "nobody"));
}

#[test]
fn what_happens_is_told_once_in_order_and_when_it_is_durable() {
    let mut world = World::new();
    world.add(r#"{"payload":1,"key":"k"}"#);
    world.add(r#"{"payload":2}"#);
    assert!(world.happened.is_empty(), "before the disk has answered");
    world.commit_one();
    assert!(!world.happened.is_empty() && !world.frames.is_empty(), "one frame is durable, and the next one is not");
    world.commit();
    world.end_all(Outcome::Exit(0));
    let pause = world.ask(Request::Pause { queue: "q".into() });
    world.commit();
    assert_eq!(world.reply(pause), Some(Reply::Done));
    let told: Vec<serde_json::Value> =
        world.happened.iter().map(|event| serde_json::from_slice(&event.line()).unwrap()).collect();
    let types: Vec<&str> = told.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["added", "started", "added", "started", "finished", "finished", "paused"]);
    assert!(told.windows(2).all(|two| two[0]["seq"].as_u64() < two[1]["seq"].as_u64()), "{told:?}");
    assert!(told.iter().all(|line| line["queue"] == "q" && line["at"] == NOW.wall.0), "{told:?}");
    let first = serde_json::json!({"seq": 1, "at": 1_000_000, "type": "added", "job": 1, "queue": "q", "key": "k"});
    assert_eq!(told[0], first, "the payload is not told");
    assert_eq!((&told[5]["next"], &told[5]["outcome"]["exit"]), (&"succeeded".into(), &0.into()));
}

/// Who waits for what, as (kind, for), and that each path leads outward and ends.
fn edges(world: &World) -> Vec<(driver::Kind, driver::For)> {
    let waits = world.driver.waits(NOW);
    for wait in &waits {
        let mut kind = wait.kind;
        let mut awaited = wait.awaited;
        while let Some(inside) = awaited.inside() {
            assert!(inside > kind && inside != driver::Kind::Loop, "{wait:?} leads back");
            let Some(next) = waits.iter().find(|wait| wait.kind == inside) else { break };
            (kind, awaited) = (next.kind, next.awaited);
        }
    }
    waits.iter().map(|wait| (wait.kind, wait.awaited)).collect()
}

#[test]
fn who_waits_for_what_is_told_though_the_disk_sleeps() {
    use driver::{For, Kind};
    let mut world = World::new();
    let at_rest = edges(&world);
    assert!(
        at_rest.contains(&(Kind::Journal, For::Work)) && at_rest.contains(&(Kind::Queue, For::Work)),
        "{at_rest:?}"
    );
    world.add(r#"{"payload":1}"#);
    let sleeping = edges(&world);
    for edge in [(Kind::Connections, For::Journal), (Kind::Journal, For::Disk), (Kind::Attempt, For::Journal)] {
        assert!(sleeping.contains(&edge), "{edge:?} in {sleeping:?}");
    }
    let asked = world.ask(Request::Diagnose);
    let Answer::Status(json) = &world.answers[&asked] else { panic!("no answer") };
    let json: serde_json::Value = serde_json::from_slice(json).unwrap();
    let journal = json["waits"].as_array().unwrap().iter().find(|wait| wait["kind"] == "journal").unwrap();
    assert_eq!((&journal["for"], &journal["since_ms"]), (&"disk".into(), &0.into()), "{journal}");

    world.commit();
    let starting = edges(&world);
    assert!(starting.contains(&(Kind::Attempt, For::Keeper)) && starting.contains(&(Kind::Keeper, For::Kernel)));
    let Task::Start { job, attempt, .. } = world.starts[0] else { panic!("no start") };
    world.handle(Event::Done(Done::Spawned { child: ChildId::Attempt { job, attempt } }));
    let running = edges(&world);
    for edge in [(Kind::Attempt, For::Command), (Kind::Keeper, For::Work), (Kind::Queue, For::Attempts)] {
        assert!(running.contains(&edge), "{edge:?} in {running:?}");
    }
    world.end_all(Outcome::Exit(0));
    world.ask(Request::Pause { queue: "q".into() });
    world.add(r#"{"payload":2}"#);
    world.commit();
    assert!(edges(&world).contains(&(Kind::Queue, For::Person)), "a paused queue waits for somebody");
}
