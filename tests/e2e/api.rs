//! The control socket and the commands that use it, against the real program.

use crate::support::{Answer, Pipeline, Running, lines, names, until, wait};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

pub(crate) const SLEEPERS: &str = "[queue.q]\ncommand = [\"sleep\", \"30\"]\ngrace = \"1s\"\nconcurrency = 2\n\
     [queue.fast]\ncommand = [\"true\"]\n\
     [queue.bad]\ncommand = [\"false\"]\nretry = { attempts = 1 }\n[run]\nstop_timeout = \"1s\"\n";

/// How many lines the stream has that is cut off by kill -9. The full number is for `SPRAG_STREAM_LINES=100000`.
fn stream_lines() -> usize {
    std::env::var("SPRAG_STREAM_LINES").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000)
}

pub(crate) fn connect(pipeline: &Pipeline) -> UnixStream {
    let path = pipeline.path(".sprag/sprag.sock");
    until("somebody listens", || UnixStream::connect(&path).is_ok());
    let stream = UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

pub(crate) fn running(config: &str) -> (Pipeline, Running) {
    let pipeline = Pipeline::new(config);
    let running = pipeline.start(&[]);
    drop(connect(&pipeline));
    (pipeline, running)
}

/// One request as bytes, and its whole answer: code and body.
pub(crate) fn raw(pipeline: &Pipeline, request: &[u8]) -> (u16, String) {
    let mut stream = connect(pipeline);
    // The other end may have said no and left before it took everything.
    let _ = stream.write_all(request);
    let mut answer = String::new();
    match stream.read_to_string(&mut answer) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error} after {answer:?}"),
        Ok(_) | Err(_) => {}
    }
    let code = answer.split(' ').nth(1).unwrap_or("0").parse().unwrap();
    (code, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

pub(crate) fn ask(pipeline: &Pipeline, method: &str, path: &str, body: &str) -> (u16, Value) {
    let head =
        format!("{method} {path} HTTP/1.1\r\nhost: s\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    let (code, body) = raw(pipeline, (head + body).as_bytes());
    (code, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body:?}")))
}

fn code(answer: &Answer) -> i32 {
    answer.code.unwrap_or(-1)
}

#[test]
fn the_socket_is_ours_alone_even_under_a_long_path_and_after_a_crash() {
    let pipeline = Pipeline::new(SLEEPERS);
    let deep = format!("{}/{}", "d".repeat(100), "e".repeat(100));
    fs::create_dir_all(pipeline.path(&deep)).unwrap();
    fs::copy(pipeline.path("sprag.toml"), pipeline.path(&deep).join("sprag.toml")).unwrap();
    for _ in 0..2 {
        let mut child = pipeline.command(&["run", &deep]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let whole = pipeline.path(&deep).display().to_string();
        until("it answers", || pipeline.sprag(&["-C", &whole, "pause", "fast"]).code == Some(0));
        let mode = fs::metadata(pipeline.path(&deep).join(".sprag/sprag.sock")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{mode:o}");
        // The file stays; the next sprag takes its place.
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(names(&pipeline.path(&deep).join(".sprag")).contains(&"sprag.sock".to_owned()));
    }
}

#[test]
fn a_key_makes_one_job_and_another_payload_is_a_conflict() {
    let (pipeline, _running) = running(SLEEPERS);
    let path = "/v1/queues/fast/jobs";
    assert_eq!(ask(&pipeline, "POST", path, r#"{"payload": {"a": 1}, "key": "k"}"#).0, 201);
    let (code, again) = ask(&pipeline, "POST", path, r#"{"payload":{"a":1},"key":"k"}"#);
    assert_eq!((code, &again["job"], &again["result"]), (200, &1.into(), &"known".into()));
    let (code, other) = ask(&pipeline, "POST", path, r#"{"payload":{"a":2},"key":"k"}"#);
    assert_eq!((code, &other["job"]), (409, &1.into()), "{other}");
    assert_eq!(ask(&pipeline, "POST", path, r#"{"payload":{"a":2}}"#).0, 201);
    assert_eq!(ask(&pipeline, "POST", path, r#"{"payload":{"a":2}}"#).0, 201, "without a key each is a job");
    assert_eq!(pipeline.sprag(&["add", "fast", "{\"a\": 3}", "--key", "k"]).code, Some(10));
    assert_eq!(pipeline.json(&["list"]).len(), 3);
}

#[test]
fn what_cannot_be_taken_is_refused_by_its_own_code() {
    let (pipeline, _running) = running(SLEEPERS);
    let jobs = "/v1/queues/fast/jobs";
    for (method, path, body, expected, why) in [
        ("POST", jobs, "{\"payload\":", 400, "ends where a value should stand, at line 1 column 11"),
        ("POST", jobs, "{\"payload\":1,\"key\":\"a\\u0000\"}", 400, "NUL"),
        ("POST", jobs, "{\"payload\":1,\"kez\":\"k\"}", 400, "kez"),
        ("POST", "/v1/queues/nobody/jobs", "{\"payload\":1}", 404, "queue"),
        ("POST", "/v1/queues/nobody/pause", "", 404, "queue"),
        ("POST", "/v1/queues/%zz/pause", "", 400, "percent-encoded"),
        ("GET", "/v1/queues/nobody", "", 404, "queue"),
        ("GET", "/v1/jobs?state=alive", "", 400, "scheduled, ready"),
        ("GET", "/v1/jobs?limit=-1", "", 400, "limit=-1"),
        ("GET", "/v1/jobs?queue=nobody", "", 404, "queue"),
        ("GET", "/v1/jobs?quewe=q", "", 400, "quewe"),
        ("GET", "/v1/status?now=1", "", 400, "now"),
        ("POST", "/v1/jobs", "", 405, "POST"),
        ("POST", "/v1/jobs/7/cancel", "", 404, "job"),
        ("POST", "/v1/jobs/seven/cancel", "", 400, "number"),
        ("GET", "/v1/jobs/7", "", 404, "job"),
        ("DELETE", "/v1/jobs/7", "", 405, "DELETE"),
        ("GET", "/", "", 404, "docs/api.md"),
    ] {
        let (code, told) = ask(&pipeline, method, path, body);
        assert_eq!(code, expected, "{method} {path}: {told}");
        assert!(told["error"].as_str().unwrap().contains(why), "{method} {path}: {told}");
    }
    let head =
        |len: usize| format!("POST {jobs} HTTP/1.1\r\nhost: s\r\nconnection: close\r\ncontent-length: {len}\r\n\r\n");
    assert_eq!(raw(&pipeline, head(1 << 30).as_bytes()).0, 413, "said before it is sent");
    let chunk = [format!("{:x}\r\n", 3 << 20).into_bytes(), vec![b' '; 3 << 20], b"\r\n0\r\n\r\n".to_vec()].concat();
    let chunked = format!("POST {jobs} HTTP/1.1\r\nhost: s\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n");
    assert_eq!(raw(&pipeline, &[chunked.as_bytes(), &chunk].concat()).0, 413, "and when it is");
    let header = format!("GET /v1/status HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(200_000));
    assert_eq!(raw(&pipeline, header.as_bytes()).0, 431);
    assert_eq!(raw(&pipeline, b"\x16\x03\x01 no HTTP\r\n\r\n").0, 400);
    assert!(pipeline.json(&["list"]).is_empty());
}

#[test]
fn bad_lines_are_named_and_the_others_taken() {
    let (pipeline, _running) = running(SLEEPERS);
    let long = format!("\"{}\"", "x".repeat(3 << 20));
    let text = ["{\"id\": 1}", "{\"id\":", "", &long, "{\"no\": 1}", "{\"id\": \"é\"}"].join("\n");
    pipeline.write("lines", &text);
    let told = pipeline.sprag(&["add", "fast", "--lines", "lines", "--key-at", "/id", "--json"]);
    assert_eq!(told.code, Some(10), "{}", told.err);
    let told = lines(&told.out);
    let said: Vec<(u64, u64)> =
        told.iter().map(|ack| (ack["line"].as_u64().unwrap(), ack["status"].as_u64().unwrap())).collect();
    assert_eq!(said, [(1, 201), (2, 400), (3, 400), (4, 400), (5, 400), (6, 201)]);
    for (at, why) in [(1, "it ends where a value"), (3, "too long"), (4, "no key at /id")] {
        assert!(told[at]["error"].as_str().unwrap().contains(why), "{}", told[at]);
    }
    let again = pipeline.sprag(&["add", "fast", "--lines", "lines", "--key-at", "/id"]);
    assert!(again.out.starts_with("line 2: it ends where a value should stand, at column 6\n"), "{}", again.out);
    assert!(again.out.ends_with("6 lines: 0 added, 2 known before, 4 refused\n"), "{}", again.out);
    let keys: BTreeSet<String> = pipeline.json(&["list"]).iter().map(|job| job["key"].to_string()).collect();
    assert_eq!(keys, BTreeSet::from(["\"1\"".into(), "\"é\"".into()]));
    // The API itself refuses an over-long line without its client's help.
    let body = format!("{{\"payload\":1}}\n{long}\n{{\"payload\":2}}\n");
    let request = format!(
        "POST /v1/queues/fast/jobs/stream HTTP/1.1\r\nhost: s\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let (_, told) = raw(&pipeline, request.as_bytes());
    assert!(
        ["\"status\":201", "\"line\":2,\"status\":413", "\"line\":3,"].iter().all(|part| told.contains(part)),
        "{told}"
    );
}

#[test]
fn every_acknowledged_job_of_a_stream_outlives_kill_9() {
    let (pipeline, running) = running("[queue.q]\ncommand = [\"true\"]\n");
    assert_eq!(pipeline.sprag(&["pause", "q"]).code, Some(0));
    let count = stream_lines();
    let text: String = (0..count).map(|n| format!("{{\"id\":{n},\"text\":\"{}\"}}\n", "x".repeat(200))).collect();
    pipeline.write("lines", &text);
    let mut command = pipeline.command(&["add", "q", "--lines", "lines", "--key-at", "/id", "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut acks = Vec::new();
    for ack in BufReader::new(child.stdout.take().unwrap()).lines() {
        acks.push(serde_json::from_str::<Value>(&ack.unwrap()).unwrap());
        if acks.len() == count / 2 {
            let id = rustix::process::Pid::from_raw(running.id().cast_signed()).unwrap();
            rustix::process::kill_process(id, rustix::process::Signal::KILL).unwrap();
        }
    }
    assert_eq!(wait(child), Some(6), "the client says that sprag was lost");
    drop(running);
    assert!(acks.len() >= count / 2 && acks.iter().all(|ack| ack["status"] == 201));
    let kept: BTreeSet<u64> = pipeline.json(&["list"]).iter().map(|job| job["id"].as_u64().unwrap()).collect();
    let lost = acks.iter().filter(|ack| !kept.contains(&ack["job"].as_u64().unwrap())).count();
    assert_eq!(lost, 0, "of {} acknowledged jobs", acks.len());
    println!("{count} lines, {} acknowledged before the kill, {} kept", acks.len(), kept.len());

    let again = pipeline.start(&[]);
    let told = pipeline.sprag(&["add", "q", "--lines", "lines", "--key-at", "/id"]);
    let (new, known) = (count - kept.len(), kept.len());
    assert_eq!(told.out, format!("{count} lines: {new} added, {known} known before, 0 refused\n"));
    assert_eq!(pipeline.json(&["list"]).len(), count);
    drop(again);
}

#[test]
fn a_line_has_the_key_that_a_source_would_give_it() {
    let (pipeline, _running) = running(SLEEPERS);
    let numbers = ["123456789012345678901234567890", "1.50", "1e2"];
    pipeline.write("lines", &numbers.map(|number| format!("{{\"id\":{number}}}\n")).concat());
    let told = pipeline.sprag(&["add", "fast", "--lines", "lines", "--key-at", "/id"]);
    assert_eq!(told.code, Some(0), "{told:?}");
    let keys: Vec<Value> = pipeline.json(&["list"]).iter().map(|job| job["key"].clone()).collect();
    assert_eq!(keys, numbers);
}

#[test]
fn a_client_that_hangs_up_half_way_leaves_no_half_line() {
    let (pipeline, _running) = running(SLEEPERS);
    let mut stream = connect(&pipeline);
    let head = "POST /v1/queues/fast/jobs/stream HTTP/1.1\r\nhost: s\r\ntransfer-encoding: chunked\r\n\r\n";
    let body = "{\"payload\":1,\"key\":\"whole\"}\n{\"payload\":2,\"key\":\"half\"}";
    stream.write_all(format!("{head}{:x}\r\n{body}\r\n", body.len()).as_bytes()).unwrap();
    let mut answer = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    while !line.contains("\"line\":1") {
        line.clear();
        assert_ne!(answer.read_line(&mut line).unwrap(), 0, "no acknowledgement of the first line");
    }
    drop((answer, stream));
    // A single job whose body is cut off is no job either.
    let mut stream = connect(&pipeline);
    let request =
        "POST /v1/queues/fast/jobs HTTP/1.1\r\nhost: s\r\ncontent-length: 40\r\n\r\n{\"payload\":3,\"key\":\"cut\"}";
    stream.write_all(request.as_bytes()).unwrap();
    drop(stream);
    assert_eq!(pipeline.sprag(&["add", "fast", "1", "--key", "after", "--wait"]).code, Some(0));
    let keys: Vec<String> = pipeline.json(&["list"]).iter().map(|job| job["key"].to_string()).collect();
    assert_eq!(keys, ["\"whole\"", "\"after\""]);
}

#[test]
fn sleeping_clients_hold_up_nobody_and_too_many_are_turned_away() {
    let (pipeline, _running) = running(SLEEPERS);
    let mut sleepers: Vec<UnixStream> = (0..50).map(|_| connect(&pipeline)).collect();
    for (at, sleeper) in sleepers.iter_mut().enumerate() {
        // Some send nothing, some half a header, some half a body.
        let begun = ["", "POST /v1/dr", "POST /v1/queues/fast/jobs HTTP/1.1\r\nhost: s\r\ncontent-length: 9\r\n\r\n{"];
        sleeper.write_all(begun[at % 3].as_bytes()).unwrap();
    }
    let begin = Instant::now();
    assert_eq!(pipeline.sprag(&["add", "fast", "1", "--wait"]).code, Some(0));
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    // Some of them are turned away themselves, and those who are let in are let go after ten seconds.
    let mut many = VecDeque::new();
    until("there is no place left", || {
        many.extend((0..128).map(|_| connect(&pipeline)));
        many.drain(..many.len().saturating_sub(256));
        raw(&pipeline, b"GET /v1/status HTTP/1.1\r\nhost: s\r\nconnection: close\r\n\r\n").0 == 503
    });
    drop(many);
    until("there is a place again", || pipeline.sprag(&["pause", "fast"]).code == Some(0));
    // A header must be here in ten seconds.
    let mut left = String::new();
    let ended = sleepers[1].read_to_string(&mut left);
    assert!(ended.is_ok() || ended.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset), "{left:?}");
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
}

#[test]
fn cancel_ends_what_runs_and_what_waits_and_retry_begins_anew() {
    let (pipeline, _running) = running(SLEEPERS);
    for key in ["a", "b", "c"] {
        pipeline.sprag(&["add", "q", "--key", key]);
    }
    until("two run", || pipeline.state("b").0 == "running");
    assert_eq!(pipeline.sprag(&["cancel", "1", "3"]).code, Some(0));
    let waited = pipeline.sprag(&["wait", "1", "3"]);
    assert_eq!((waited.code, waited.out.matches("cancelled").count()), (Some(1), 2), "{waited:?}");
    assert_eq!(pipeline.state("a"), ("cancelled".into(), 1));
    assert_eq!(pipeline.state("c").0, "cancelled");
    let again = pipeline.sprag(&["cancel", "1"]);
    let why = "sprag: job 1: the state of the job does not allow it: it is cancelled\n";
    assert_eq!((again.code, again.err.starts_with(why)), (Some(10), true), "{again:?}");
    assert_eq!(pipeline.sprag(&["cancel", "99"]).code, Some(1));
    assert_eq!(pipeline.sprag(&["retry", "1"]).code, Some(0));
    until("it runs again", || pipeline.state("a") == ("running".into(), 2));

    let dead = pipeline.json(&["add", "bad"])[0]["job"].as_u64().unwrap().to_string();
    assert_eq!(pipeline.sprag(&["wait", &dead]).code, Some(1));
    assert_eq!(pipeline.json(&["retry", "--dead", "bad"])[0]["jobs"], 1);
    assert_eq!(pipeline.sprag(&["wait", &dead]).code, Some(1));
    assert_eq!(pipeline.json(&["retry", "--dead", "fast"])[0]["jobs"], 0);
}

#[test]
fn a_stop_waits_for_nobody() {
    let command = "command = [\"sh\", \"-c\", \"touch began-$SPRAG_ATTEMPT; exec sleep 100\"]";
    let pipeline = Pipeline::new(&format!("[queue.q]\n{command}\n[run]\nstop_timeout = \"10m\"\n"));
    for (args, attempt) in [(&["drain", "--now"][..], 1), (&["drain"], 2)] {
        let running = pipeline.start(&[]);
        pipeline.sprag(&["add", "q", "--key", "a"]);
        // On record a little earlier: a start that was not made yet is given back.
        until("it runs", || pipeline.path(&format!("began-{attempt}")).exists());
        assert_eq!(pipeline.sprag(args).code, Some(0));
        if args.len() == 1 {
            // A drain may be hurried.
            assert_eq!(ask(&pipeline, "POST", "/v1/stop", "").0, 200);
        }
        assert_eq!(running.end().0, Some(0));
        let story = pipeline.sprag(&["show", "1"]).out;
        let ended = format!("attempt {attempt} was ended by sprag");
        assert!(story.contains(&ended) && !story.contains("failed"), "{story}");
        assert_ne!(pipeline.state("a").0, "dead");
    }
}

#[test]
fn a_pause_lasts_across_a_restart() {
    let (pipeline, first) = running(SLEEPERS);
    assert_eq!(pipeline.sprag(&["pause", "fast"]).code, Some(0));
    pipeline.sprag(&["add", "fast", "--key", "k"]);
    drop(first);
    let second = pipeline.start(&[]);
    let began = Instant::now();
    assert_eq!(code(&pipeline.sprag(&["wait", "1", "--timeout", "300ms"])), 11);
    let waited = began.elapsed();
    assert!(waited >= Duration::from_millis(300) && waited < Duration::from_secs(30), "{waited:?}");
    assert_eq!(pipeline.state("k").0, "ready");
    assert!(pipeline.sprag(&["status"]).out.contains("paused"));
    assert_eq!(pipeline.sprag(&["resume", "fast"]).code, Some(0));
    assert_eq!(code(&pipeline.sprag(&["wait", "1", "--timeout", "20s"])), 0);
    drop(second);
}

#[test]
fn a_drain_lets_finish_what_runs_and_then_ends() {
    let pipeline =
        Pipeline::new("[queue.q]\ncommand = [\"sh\", \"-c\", \"sleep 0.7\"]\n[run]\nstop_timeout = \"20s\"\n");
    let running = pipeline.start(&[]);
    pipeline.sprag(&["add", "q", "--key", "a"]);
    pipeline.sprag(&["add", "q", "--key", "b"]);
    until("one runs", || pipeline.state("a").0 == "running");
    assert_eq!(pipeline.sprag(&["drain"]).code, Some(0));
    let late = pipeline.sprag(&["add", "q", "--key", "late"]);
    assert!(late.out.contains("in the drop-box") && late.out.contains("is about to end"), "{late:?}");
    let (code, said) = running.end();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!((pipeline.state("a").0, pipeline.state("b").0), ("succeeded".into(), "ready".into()));
    assert!(!pipeline.path(".sprag/sprag.sock").exists());
}

#[test]
fn without_a_running_sprag_each_command_says_so() {
    let pipeline = Pipeline::new(SLEEPERS);
    pipeline.write("lines", "1\n");
    let fast = ["add", "fast", "--key", "k"];
    pipeline.sprag(&fast);
    for args in [
        &["cancel", "1"][..],
        &["retry", "1"],
        &["retry", "--dead", "q"],
        &["pause", "q"],
        &["resume", "q"],
        &["drain"],
        &["add", "q", "--wait"],
        &["add", "q", "--lines", "lines"],
    ] {
        let told = pipeline.sprag(args);
        assert_eq!((told.code, told.out.as_str()), (Some(9), ""), "{args:?}: {told:?}");
        assert!(told.err.contains("no sprag runs here") && told.err.contains("`sprag run`"), "{args:?}: {}", told.err);
    }
    assert_eq!(code(&pipeline.sprag(&["health"])), 2);
    assert_eq!(code(&pipeline.sprag(&["run", "--until-idle"])), 0);
    assert_eq!(code(&pipeline.sprag(&["wait", "1"])), 0, "an end on record is told");
    assert_eq!(code(&pipeline.sprag(&["wait", "2"])), 1);
}

#[test]
fn health_is_one_code_and_a_log_is_followed_to_the_end() {
    let source = "[[source]]\npath = \"items.json\"\nformat = \"json-array\"\nqueue = \"q\"\n";
    let queue =
        "[queue.q]\ncommand = [\"sh\", \"job.sh\"]\nretry = { attempts = 2, backoff = \"300ms\", jitter = 0 }\n";
    let pipeline = Pipeline::new(&format!("{source}{queue}"));
    pipeline.write("items.json", "[]");
    pipeline.write("job.sh", "echo one $SPRAG_ATTEMPT; sleep 0.4; printf 'two\\033[2J'; exit $((2 - SPRAG_ATTEMPT))");
    let running = pipeline.start(&[]);
    until("it is well", || pipeline.sprag(&["health"]).code == Some(0));
    pipeline.write("items.json", "[1,");
    until("it is degraded", || pipeline.sprag(&["health"]).code == Some(1));
    let told = pipeline.sprag(&["health", "--json"]);
    assert!(lines(&told.out)[0]["reasons"][0].as_str().unwrap().contains("items.json"), "{}", told.out);

    pipeline.sprag(&["add", "q", "--key", "k"]);
    let followed = pipeline.sprag(&["log", "1", "-f"]);
    assert_eq!((followed.code, followed.out.as_str()), (Some(0), "one 1\ntwo\\u{1b}[2J\none 2\ntwo\\u{1b}[2J\n"));
    assert_eq!(pipeline.sprag(&["log", "1", "--attempt", "1"]).out, "one 1\ntwo\\u{1b}[2J\n");
    assert_eq!(pipeline.json(&["log", "1"])[0]["text"], "one 2");
    assert_eq!(code(&pipeline.sprag(&["log", "1", "--attempt", "3"])), 1);
    assert_eq!(code(&pipeline.sprag(&["log", "9"])), 1);
    drop(running);
    assert_eq!(pipeline.sprag(&["log", "1"]).out, "one 2\ntwo\\u{1b}[2J\n", "without a running sprag too");
}

#[test]
fn an_export_has_it_all_and_init_writes_what_runs() {
    let pipeline = Pipeline::new("[queue.bad]\ncommand = [\"false\"]\nretry = { attempts = 1 }\n");
    pipeline.sprag(&["add", "bad", "{\"a\": [1, 2]}", "--key", "k", "--priority", "3"]);
    pipeline.sprag(&["run", "--until-idle"]);
    let job = pipeline.sprag(&["export"]).out;
    assert!(
        job.starts_with(r#"{"id":1,"queue":"bad","key":"k","payload":{"a":[1,2]},"priority":3,"state":"dead","#),
        "{job}"
    );
    assert_eq!((&lines(&job)[0]["attempts"], &lines(&job)[0]["outcome"]["exit"]), (&1.into(), &1.into()), "{job}");

    assert_eq!(code(&pipeline.sprag(&["init"])), 2, "what is there is left alone");
    fs::create_dir(pipeline.path("new")).unwrap();
    let told = pipeline.sprag(&["-C", "new", "init"]);
    assert!(told.out.contains("sprag run --until-idle"), "{told:?}");
    fs::write(pipeline.path("new/items.json"), "[{\"id\": \"first\"}]").unwrap();
    assert_eq!(code(&pipeline.sprag(&["-C", "new", "run", "--until-idle", "--fail-on-dead"])), 0);
    assert_eq!(pipeline.read("new/results/first.json"), "{\"id\":\"first\"}");
    for shell in ["bash", "zsh", "fish"] {
        assert!(pipeline.sprag(&["completions", shell]).out.contains("until-idle"), "{shell}");
    }
}

#[test]
fn many_clients_at_once_get_each_their_own_answer() {
    let (pipeline, _running) = running(SLEEPERS);
    assert_eq!(pipeline.sprag(&["pause", "fast"]).code, Some(0));
    let told: BTreeMap<String, u64> = thread::scope(|scope| {
        let clients: Vec<_> = (0..16)
            .map(|client| {
                let pipeline = &pipeline;
                let add = move |n| {
                    let key = format!("{client}-{n}");
                    let body = format!("{{\"payload\":{n},\"key\":\"{key}\"}}");
                    let (code, told) = ask(pipeline, "POST", "/v1/queues/fast/jobs", &body);
                    assert_eq!(code, 201, "{told}");
                    (key, told["job"].as_u64().unwrap())
                };
                scope.spawn(move || (0..20).map(add).collect::<Vec<_>>())
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    assert_eq!(told.len(), 16 * 20);
    let job = |job: Value| (job["key"].as_str().unwrap().to_owned(), job["id"].as_u64().unwrap());
    assert_eq!(pipeline.json(&["list"]).into_iter().map(job).collect::<BTreeMap<_, _>>(), told);
}
