//! The control API over a real socket, with a loop that answers as the test says: what is waited for, what is refused, and
//! what listeners are told.

#![expect(clippy::unwrap_used, reason = "a test ends where anything fails")]
#![expect(clippy::disallowed_methods, reason = "a socket lives in real time, and is served beside the test")]
#![expect(clippy::disallowed_types, reason = "what is asked comes from the thread that serves")]

use sprag_core::{JobId, Mono, Now, QueueConfig, Reply, Seq, Wall};
use sprag_journal::RealFs;
use sprag_runtime::driver::{self, Effect, Event, Happened};
use sprag_runtime::live::api::{Api, Asked, LocalListener, Patience};
use sprag_runtime::pipeline::{Pipeline, QueueSpec};
use sprag_runtime::request::{Add, Answer, Request, Ticket};
use std::fs::{self, Permissions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// No wait is longer.
const LIMIT: Duration = Duration::from_secs(20);
const SHORT: Patience = Patience { header_ms: 300, idle_ms: 2_000, heartbeat_ms: 100 };
const PATIENT: Patience = Patience { header_ms: 60_000, idle_ms: 60_000, heartbeat_ms: 60_000 };

/// An API that serves in a folder of its own. What it asks of the loop comes out of `asked`.
struct Served {
    dir: tempfile::TempDir,
    api: Option<Api>,
    asked: Receiver<Asked>,
    stop: Option<oneshot::Sender<()>>,
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

impl Served {
    fn new(patience: Patience, durable: Seq) -> Served {
        let dir = tempfile::tempdir().unwrap();
        let (to_loop, asked): (Sender<Asked>, _) = channel();
        let path = dir.path().join("sock");
        let (stop, stopped) = oneshot::channel::<()>();
        let (give, api) = channel();
        std::thread::spawn(move || {
            runtime().block_on(async move {
                let listener = LocalListener::bind(&path).unwrap();
                let to_loop = move |asked| drop(to_loop.send(asked));
                give.send(Api::serve(listener, patience, durable, to_loop)).unwrap();
                let _ = stopped.await;
            });
        });
        Served { dir, api: Some(api.recv_timeout(LIMIT).unwrap()), asked, stop: Some(stop) }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("sock")
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.path()).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    }

    fn begin(&self, request: &str) -> UnixStream {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    fn tell(&self, happened: Vec<Happened>) {
        self.api.as_ref().unwrap().tell(happened);
    }

    fn listen(&self, query: &str) -> UnixStream {
        self.begin(&format!("GET /v1/events{query} HTTP/1.1\r\nhost: s\r\n\r\n"))
    }

    fn close(&mut self) {
        runtime().block_on(self.api.take().unwrap().close());
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
    }
}

/// What was read last.
fn tail(read: &[u8]) -> String {
    String::from_utf8_lossy(&read[read.len().saturating_sub(500)..]).into_owned()
}

/// Reads until the text is there, or the end.
fn until(stream: &mut UnixStream, text: &str) -> String {
    let (mut read, mut piece) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        let len = stream.read(&mut piece).unwrap_or_else(|error| {
            panic!("{error} after {} bytes, at the end {:?}", read.len(), tail(&read));
        });
        // Only what is new can complete the text.
        let fresh = (read.len() + 1).saturating_sub(text.len());
        read.extend_from_slice(&piece[..len]);
        if read[fresh..].windows(text.len()).any(|window| window == text.as_bytes()) {
            return String::from_utf8_lossy(&read).into_owned();
        }
        assert_ne!(len, 0, "it ended after {:?}, before {text:?}", tail(&read));
    }
}

/// Reads to the end.
fn rest(stream: &mut UnixStream) -> String {
    let mut read = Vec::new();
    match stream.read_to_end(&mut read) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
        Ok(_) | Err(_) => String::from_utf8_lossy(&read).into_owned(),
    }
}

fn code(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no answer: {answer:?}"))
}

/// Records of a real driver: so many jobs that were added to a paused queue, each with a key of so many bytes.
fn happened(jobs: usize, key_len: usize) -> Vec<Happened> {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join(".sprag")).unwrap();
    let now = Now { mono: Mono(1), wall: Wall(1) };
    let policy = QueueConfig { name: "q".into(), ..QueueConfig::default() };
    let pipeline = Pipeline {
        stop_timeout_ms: 1_000,
        ..Pipeline::new(dir.path().into(), vec![QueueSpec::new(policy, vec!["true".into()])])
    };
    let opened = driver::open(&RealFs, pipeline.into(), sprag_journal::Limits::default(), now, [7; 16]).unwrap();
    let (mut driver, mut writer) = (opened.driver, opened.writer);
    let mut events = vec![Event::Request { ticket: Ticket(0), request: Request::Pause { queue: "q".into() } }];
    events.extend((1..=jobs).map(|n| {
        let key = format!("{n:0key_len$}");
        let add = Add::parse(Some("q"), format!(r#"{{"payload":1,"key":"{key}"}}"#).as_bytes()).unwrap();
        Event::Request { ticket: Ticket(n as u64), request: Request::Add(Box::new(add)) }
    }));
    let mut told = Vec::new();
    for event in events {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            driver.handle(now, event);
            let mut answers = Vec::new();
            while let Some(effect) = driver.poll() {
                match effect {
                    Effect::Journal(work) => answers.push(driver::journal_step(&mut writer, work)),
                    Effect::Happened(happened) => told.extend(happened),
                    Effect::Run(_)
                    | Effect::Signal { .. }
                    | Effect::Answer { .. }
                    | Effect::Say(_)
                    | Effect::Idle
                    | Effect::HeldUp { .. }
                    | Effect::GivenUp { .. }
                    | Effect::Stopped => {}
                    Effect::Fatal { what } => panic!("{what}"),
                }
            }
            next = answers.pop().map(Event::Journal);
            assert!(answers.is_empty(), "one frame is in flight");
        }
    }
    told.retain(|event| String::from_utf8(event.line()).unwrap().contains("added"));
    assert_eq!(told.len(), jobs);
    told
}

#[test]
fn a_client_that_sleeps_is_let_go_and_one_that_moves_is_not() {
    let served = Served::new(SHORT, Seq(0));
    // No header, half a header, half a body.
    for begun in ["", "GET /v1/st", "POST /v1/queues/q/jobs HTTP/1.1\r\nhost: s\r\ncontent-length: 9\r\n\r\n{"] {
        let began = Instant::now();
        rest(&mut served.begin(begun));
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(SHORT.header_ms - 1) && took < LIMIT, "{begun:?}: {took:?}");
    }
    // One byte each 200 ms is slow, and takes longer than the limit in all; but it moves.
    let mut slow = served.begin("POST /v1/queues/q/jobs HTTP/1.1\r\nhost: s\r\ncontent-length: 13\r\n\r\n");
    for byte in b"{\"payload\":1}" {
        slow.write_all(&[*byte]).unwrap();
        std::thread::sleep(Duration::from_millis(200));
    }
    let Asked { client, .. } = served.asked.recv_timeout(LIMIT).unwrap();
    client.answer(Answer::Reply(Reply::Added(JobId(5))));
    assert_eq!(code(&until(&mut slow, "\"job\":5")), 201);
}

#[test]
fn too_much_under_way_is_told_to_come_again() {
    let served = Served::new(PATIENT, Seq(0));
    let body = format!(r#"{{"payload":"{}"}}"#, "x".repeat((1 << 20) - 100)) + &" ".repeat((1 << 20) + 86);
    assert_eq!(body.len(), 2 << 20);
    let head = format!("POST /v1/queues/q/jobs HTTP/1.1\r\nhost: s\r\ncontent-length: {}\r\n\r\n", body.len());
    // 64 MiB are under way when nobody answers 32 of them.
    let held: Vec<(UnixStream, Asked)> = (0..32)
        .map(|_| {
            let stream = served.begin(&format!("{head}{body}"));
            (stream, served.asked.recv_timeout(LIMIT).expect("the request reached the loop"))
        })
        .collect();
    let mut one_more = served.begin(&format!("{head}{body}"));
    let answer = until(&mut one_more, "}");
    assert!(code(&answer) == 429 && answer.contains("\"reason\":\"busy\""), "{answer}");
    for (mut stream, Asked { client, .. }) in held {
        client.answer(Answer::Reply(Reply::Added(JobId(1))));
        assert_eq!(code(&until(&mut stream, "}")), 201);
    }
    one_more.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let Asked { client, .. } = served.asked.recv_timeout(LIMIT).unwrap();
    client.answer(Answer::Reply(Reply::Added(JobId(2))));
    assert_eq!(code(&until(&mut one_more, "}")), 201, "there is room again");
}

#[test]
fn a_client_that_hangs_up_costs_nobody_else_an_answer() {
    let served = Served::new(PATIENT, Seq(0));
    let ask = |job: u64| served.begin(&format!("GET /v1/jobs/{job} HTTP/1.1\r\nhost: s\r\n\r\n"));
    let (first, mut second) = (ask(1), ask(2));
    let asked: Vec<Asked> = (0..2).map(|_| served.asked.recv_timeout(LIMIT).unwrap()).collect();
    drop(first);
    for Asked { client, request } in asked {
        let Request::Job(JobId(job)) = request else { panic!("{request:?}") };
        client.answer(Answer::Retried { jobs: job });
    }
    assert!(until(&mut second, "}").contains("\"jobs\":2"), "its own answer");
}

/// The other user is a child of this test, that runs this test alone: it has the number 65534, and knocks.
#[test]
fn somebody_else_is_turned_away() {
    if let Some(path) = std::env::var_os("SPRAG_TEST_KNOCK_AT") {
        let mut stream = UnixStream::connect(Path::new(&path)).unwrap();
        let _ = stream.write_all(b"GET /v1/status HTTP/1.1\r\nhost: s\r\nconnection: close\r\n\r\n");
        return print!("heard<{}>", rest(&mut stream));
    }
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: only root can be somebody else");
    }
    let served = Served::new(PATIENT, Seq(0));
    // What keeps others out first are the folder and the file; the question is who is let in where they do not.
    fs::set_permissions(served.dir.path(), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(served.path(), Permissions::from_mode(0o666)).unwrap();
    let program = served.dir.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let socket = served.path();
    let knock = |user: u32| {
        let mut command = Command::new(&program);
        command.args(["--exact", "somebody_else_is_turned_away", "--nocapture"]).uid(user).gid(user);
        let output = command.env("SPRAG_TEST_KNOCK_AT", &socket).current_dir("/").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let said = knock(65_534);
    assert!(said.contains("heard<>"), "{said}");
    let knocked = std::thread::scope(|scope| {
        let knocked = scope.spawn(|| knock(0));
        let Asked { client, .. } = served.asked.recv_timeout(LIMIT).unwrap();
        client.answer(Answer::Status(b"{}".to_vec()));
        knocked.join().unwrap()
    });
    assert!(knocked.contains("heard<HTTP/1.1 200"), "{knocked}");
}

#[test]
fn a_listener_is_told_from_its_position_on_and_kept_alive() {
    let events = happened(6, 1);
    let before = events[0].seq.0 - 1;
    let mut served = Served::new(SHORT, Seq(before));
    let mut live = served.listen("");
    until(&mut live, "listening");
    served.tell(events[..4].to_vec());
    let told = until(&mut live, "\"key\":\"4\"");
    assert!((1..=4).all(|n| told.contains(&format!("\"key\":\"{n}\""))), "{told}");
    // Longer than a sleeping client is waited for.
    std::thread::sleep(Duration::from_millis(2 * SHORT.idle_ms));
    served.tell(events[4..].to_vec());
    let told = until(&mut live, "\"key\":\"6\"");
    assert!(told.contains("\"heartbeat\"") && !told.contains("\"key\":\"4\""), "{told}");

    let from = events[2].seq.0;
    let mut behind = served.begin(&format!(
        "GET /v1/events HTTP/1.1\r\nhost: s\r\naccept: text/event-stream\r\nlast-event-id: {from}\r\n\r\n"
    ));
    let told = until(&mut behind, "\"key\":\"6\"");
    assert!(told.contains("content-type: text/event-stream") && !told.contains("\"key\":\"3\""), "{told}");
    assert!(told.contains(&format!("id: {}\ndata: {{\"seq\":", from + 1)), "{told}");
    until(&mut behind, "\n:\n\n");

    for (query, expected) in [
        (format!("?after={}", before.saturating_sub(1)), 410),
        (format!("?after={}", events[5].seq.0 + 1), 410),
        (format!("?after={before}"), 200),
        ("?after=x".into(), 400),
        ("?behind=1".into(), 400),
    ] {
        assert_eq!(code(&until(&mut served.listen(&query), "}")), expected, "{query}");
    }
    served.close();
    assert!(rest(&mut live).contains("\"ended\""));
    assert!(rest(&mut behind).contains("\"ended\""));
}

#[test]
fn a_listener_that_does_not_read_is_cut_off_and_costs_no_memory() {
    let events = happened(3_000, 4_000);
    let served = Served::new(PATIENT, Seq(events[0].seq.0 - 1));
    let mut deaf = served.listen("");
    until(&mut deaf, "listening");
    // In large portions, as a loop that was held up tells them: what waits for a listener is bounded by bytes, not by number.
    for some in events.chunks(250) {
        served.tell(some.to_vec());
        std::thread::sleep(Duration::from_millis(25));
    }
    // 12 MB were told, and it took none of them: what is kept is less, so its position is lost.
    let told = rest_until_last_line(&mut deaf);
    let last = told.lines().rfind(|line| line.starts_with('{')).unwrap();
    assert!(last.contains("\"type\":\"gone\"") && last.contains("not taken fast enough"), "{last}");
    let keys = told.matches("\"key\"").count();
    assert!(keys > 0 && keys < 3_000, "{keys}");
    // Somebody else hears the newest all the same.
    let newest = events[2_998].seq.0;
    let mut other = served.listen(&format!("?after={newest}"));
    until(&mut other, &format!("\"seq\":{}", newest + 1));
}

/// The connection stays open after the body's end.
fn rest_until_last_line(stream: &mut UnixStream) -> String {
    until(stream, "\r\n0\r\n\r\n")
}

#[test]
fn there_are_so_many_places_for_listeners() {
    let served = Served::new(SHORT, Seq(9));
    let mut listeners: Vec<UnixStream> = (0..16).map(|_| served.listen("")).collect();
    listeners.iter_mut().for_each(|listener| drop(until(listener, "listening")));
    let refused = until(&mut served.listen(""), "}");
    assert!(code(&refused) == 429 && refused.contains("\"reason\":\"busy\""), "{refused}");
    drop(listeners);
    // Who has gone is noticed at the next heartbeat.
    let began = Instant::now();
    while code(&until(&mut served.listen(""), "}")) != 200 {
        assert!(began.elapsed() < LIMIT);
        std::thread::sleep(Duration::from_millis(50));
    }
}
