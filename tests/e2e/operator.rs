//! What an operator does to a sprag that runs, what the one before the screen sees of it, and what is left afterwards.

use crate::support::{Pipeline, lines, until};
use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// For so long, in seconds, an idle sprag is watched.
const IDLE_S: u64 = 10;

const QUEUES: &str =
    "[run]\nkeep_jobs = 1\n[queue.q]\ncommand = [\"true\"]\n[queue.slow]\ncommand = [\"sleep\", \"1\"]\n";

#[test]
fn jobs_of_a_paused_or_unknown_queue_are_left_and_said_to_be() {
    let pipeline = Pipeline::new(QUEUES);
    let running = pipeline.start(&[]);
    for args in [&["pause", "q"][..], &["add", "q"], &["add", "slow", "--delay", "1d"]] {
        assert_eq!(pipeline.sprag(args).code, Some(0));
    }
    let paused = "1 job waits in queue q, which is paused: `sprag resume q`";
    assert_eq!(pipeline.json(&["status"])[0]["notes"][0], paused);
    assert_eq!(pipeline.sprag(&["drain", "--wait"]).code, Some(0));
    drop(running);
    pipeline.write("sprag.toml", "[queue.q]\ncommand = [\"true\"]\n");
    let unknown = "1 job waits in queue slow, which is not in sprag.toml: add it, or cancel them";
    assert_eq!(pipeline.json(&["status"])[0]["notes"], serde_json::json!([paused, unknown]));
    let run = pipeline.sprag(&["run", "--until-idle"]);
    assert_eq!(run.code, Some(12), "{run:?}");
    let last = run.out.lines().last().unwrap();
    assert!(
        last.contains("nothing else is left to do: ") && last.ends_with(&format!("; {paused}; {unknown}")),
        "{last}"
    );
}

#[test]
fn several_jobs_are_all_tried_and_the_screen_tells_what_was_asked() {
    let pipeline = Pipeline::new("[queue.q]\ncommand = [\"true\"]\n");
    let running = pipeline.start(&[]);
    for args in [&["pause", "q"][..], &["add", "q"], &["add", "q"], &["add", "q"]] {
        assert_eq!(pipeline.sprag(args).code, Some(0));
    }
    let cancel = pipeline.sprag(&["cancel", "1", "77", "3"]);
    assert_eq!((cancel.code, cancel.out.lines().count()), (Some(1), 2), "{cancel:?}");
    assert!(
        cancel.out.contains("job 3 is cancelled") && cancel.err.contains("job 77: there is no such job"),
        "{cancel:?}"
    );
    let retry = pipeline.sprag(&["retry", "2", "1", "--json"]);
    assert_eq!(retry.code, Some(10), "{retry:?}");
    assert!(retry.out.contains(r#"{"job":1,"result":"done"}"#), "{retry:?}");
    assert_eq!(pipeline.sprag(&["resume", "q"]).code, Some(0));
    assert_eq!(pipeline.sprag(&["wait", "2"]).code, Some(0));
    let drain = pipeline.sprag(&["drain", "--wait"]);
    assert!(drain.code == Some(0) && drain.out.contains("has ended"), "{drain:?}");
    assert_eq!(pipeline.sprag(&["run", "--until-idle"]).code, Some(0), "the next one can begin at once");
    let (_, said) = running.end();
    let stops = "stopping, by request: nothing new is started, what runs may finish";
    for what in
        ["queue q is paused, by request", "job 3 in q: cancelled by request", "queue q goes on, by request", stops]
    {
        assert!(said.contains(what), "{what}: {said}");
    }
    assert!(said.contains("job 1 in q: begins anew, by request"), "{said}");
}

#[test]
fn a_forgotten_job_is_told_from_one_that_never_was() {
    let pipeline = Pipeline::new(QUEUES);
    let _running = pipeline.start(&[]);
    for key in ["a", "b", "c"] {
        assert_eq!(pipeline.sprag(&["add", "q", "--key", key, "--wait"]).code, Some(0));
    }
    until("the first is forgotten", || pipeline.json(&["list"]).len() == 1);
    let show = pipeline.sprag(&["show", "1"]);
    assert!(show.code == Some(1) && show.err.contains("job 1 is forgotten"), "{show:?}");
    assert!(pipeline.sprag(&["show", "9"]).err.contains("there is no job 9"));
    assert!(pipeline.sprag(&["wait", "1"]).err.contains("job 1 is forgotten"));
    let again = pipeline.sprag(&["add", "q", "--key", "a", "--wait"]);
    assert!(again.code == Some(0) && again.out.contains("job 1 came to its end and is forgotten"), "{again:?}");
}

#[test]
fn each_refused_drop_box_file_is_told_now_and_noted_afterwards() {
    let pipeline = Pipeline::new(QUEUES);
    assert_eq!(pipeline.sprag(&["add", "q"]).code, Some(0));
    for name in ["one", "two"] {
        fs::write(pipeline.path(".sprag/inbox/new").join(name), "{").unwrap();
    }
    let run = pipeline.sprag(&["run", "--until-idle"]);
    for name in ["one", "two"] {
        assert!(run.out.contains(&format!("{name} was put into inbox/rejected: ")), "{run:?}");
    }
    let notes = pipeline.json(&["status"])[0]["notes"].to_string();
    assert!(notes.contains("2 files refused, see .sprag/inbox/rejected"), "{notes}");
}

#[test]
fn who_follows_a_service_sees_each_of_its_runs() {
    let service = "[service.s]\nkind = \"keep\"\ncommand = [\"sh\", \"-c\", \"echo same; sleep 0.5\"]\n";
    let pipeline = Pipeline::new(service);
    let running = pipeline.start(&[]);
    let followed = pipeline.path("followed");
    let mut follow = pipeline.command(&["log", "s", "-f"]);
    let mut follow = follow.stdout(fs::File::create(&followed).unwrap()).stderr(Stdio::null()).spawn().unwrap();
    until("two runs are seen", || fs::read_to_string(&followed).unwrap().matches("same\n").count() >= 2);
    running.terminate();
    running.end();
    follow.wait().unwrap();
}

#[test]
fn status_shows_sources_and_services_whether_or_not_sprag_runs() {
    let config = "[queue.q]\ncommand = [\"sleep\", \"60\"]\n[[source]]\npath = \"ideas.json\"\nformat = \"json-array\"\n\
        queue = \"q\"\nkey = \"/id\"\n[service.s]\nkind = \"keep\"\ncommand = [\"sleep\", \"60\"]\n";
    let pipeline = Pipeline::new(config);
    pipeline.write("ideas.json", r#"[{"id": 1}, {"id": 2}, {"no": "key"}]"#);
    let running = pipeline.start(&[]);
    until("an attempt is alive", || pipeline.state("1").0 == "running");
    let source = pipeline.json(&["status"])[0]["sources"][1].clone();
    assert_eq!((&source["path"], &source["taken"]), (&"ideas.json".into(), &2.into()), "{source}");
    let row = |text: &str, name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    let table = pipeline.sprag(&["status"]).out;
    assert!(row(&table, "ideas.json").contains("2  item 2: no key at /id"), "{table}");
    drop(running);
    let jobs = pipeline.json(&["status"])[0]["queues"][0]["jobs"].clone();
    assert_eq!((&jobs["running"], &jobs["unknown"]), (&0.into(), &1.into()), "as `list` has it: {jobs}");
    let table = pipeline.sprag(&["status"]).out;
    assert!(row(&table, "ideas.json").contains('-') && row(&table, "s ").contains("stopped"), "{table}");
    assert!(table.contains("  unknown  "), "{table}");
    pipeline.write("sprag.toml", "[queue.q\n");
    let broken = pipeline.sprag(&["status"]);
    assert!(
        broken.code == Some(0) && broken.out.contains("note: the next sprag cannot be started: sprag.toml:"),
        "{broken:?}"
    );
}

#[test]
fn a_log_without_output_says_so_and_a_raw_one_is_byte_by_byte() {
    let config =
        "[queue.q]\ncommand = [\"sh\", \"-c\", \"printf 'a\\\\033[1mb'\"]\n[queue.quiet]\ncommand = [\"true\"]\n";
    let pipeline = Pipeline::new(config);
    for queue in ["q", "quiet"] {
        assert_eq!(pipeline.sprag(&["add", queue]).code, Some(0));
    }
    assert_eq!(pipeline.sprag(&["run", "--until-idle"]).code, Some(0));
    let jobs = pipeline.json(&["list"]);
    let id = |queue: &str| jobs.iter().find(|job| job["queue"] == queue).unwrap()["id"].to_string();
    assert_eq!(pipeline.sprag(&["log", &id("q"), "--raw"]).out, "a\u{1b}[1mb");
    assert_eq!(pipeline.sprag(&["log", &id("q")]).out, "a\\u{1b}[1mb\n");
    let (quiet, attempt) = (id("quiet"), pipeline.sprag(&["log", "1", "--attempt", "0"]));
    let said = format!("[sprag: attempt 1 of job {quiet} has written nothing]\n");
    assert_eq!(pipeline.sprag(&["log", &quiet]).out, said);
    assert_eq!(pipeline.sprag(&["log", &quiet, "--raw"]).out, "");
    assert!(attempt.code == Some(2) && attempt.err.contains("not in 1.."), "{attempt:?}");
}

#[test]
fn a_failure_is_one_line_of_json_where_json_was_asked_for() {
    let pipeline = Pipeline::new(QUEUES);
    for (args, exit) in [(&["show", "9"][..], 1), (&["pause", "q"], 9), (&["list", "--sort", "size"], 2)] {
        let answer = pipeline.sprag(&[args, &["--json"]].concat());
        assert_eq!((answer.code, answer.out.as_str()), (Some(exit), ""), "{answer:?}");
        let told = &lines(&answer.err)[..];
        assert!(told.len() == 1 && told[0]["exit"] == exit && told[0]["error"].is_string(), "{answer:?}");
    }
    assert_eq!(lines(&pipeline.sprag(&["pause", "q", "--json"]).err)[0]["mend"], "start it with `sprag run`");
}

#[test]
fn a_folder_of_another_format_is_refused_by_whoever_reads_it() {
    let pipeline = Pipeline::new(QUEUES);
    assert_eq!(pipeline.sprag(&["run", "--until-idle"]).code, Some(0));
    pipeline.write(".sprag/lock", "{\"format\":9,\"pid\":1}\n");
    for args in [&["run"][..], &["add", "q"], &["list"], &["status"], &["show", "1"], &["health"]] {
        let answer = pipeline.sprag(args);
        assert_eq!(answer.code, Some(13), "{args:?}: {answer:?}");
        assert!(answer.err.contains("format version 9"), "{answer:?}");
    }
}

#[test]
fn the_number_and_the_attempts_of_a_job_are_called_the_same_everywhere() {
    let pipeline = Pipeline::new(QUEUES);
    let _running = pipeline.start(&[]);
    let waited = pipeline.sprag(&["add", "q", r#"{"n": 1.5}"#, "--key", "k", "--wait", "--json"]).out;
    let mut told = vec![lines(&waited)[1].clone()];
    told.extend(["list", "export"].map(|command| pipeline.json(&[command])[0].clone()));
    let curl = |path: &str| {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--unix-socket", ".sprag/sprag.sock", &format!("http://sprag{path}")]);
        lines(&String::from_utf8(curl.current_dir(pipeline.path("")).output().unwrap().stdout).unwrap())[0].clone()
    };
    told.extend(["/v1/jobs", "/v1/jobs/1"].map(curl));
    assert!(told.iter().all(|job| job["id"] == 1 && job["attempts"] == 1), "{told:?}");
    assert!(told[1..].iter().all(|job| job["key"] == "k" && job["added_at_ms"].as_u64() > Some(0)), "{told:?}");
    assert_eq!((told[3]["payload"].is_null(), told[4]["payload"]["n"].to_string()), (true, "1.5".into()), "{told:?}");
    assert!(told[3..].iter().all(|job| job["job"] == 1 && job["attempt"] == 1), "older names stay: {told:?}");
}

#[test]
fn an_idle_sprag_makes_fewer_than_20_system_calls_a_second() {
    if Command::new("strace").arg("--version").output().is_err() {
        println!("SKIPPED: there is no strace to count system calls with");
        return;
    }
    let source = "[[source]]\npath = \"ideas.json\"\nformat = \"json-array\"\nqueue = \"q\"\nkey = \"/id\"\n";
    let service = "[service.s]\nkind = \"keep\"\ncommand = [\"sleep\", \"600\"]\n";
    let pipeline = Pipeline::new(&format!("{QUEUES}{source}{service}"));
    pipeline.write("ideas.json", r#"[{"id": "done"}]"#);
    let running = pipeline.start(&[]);
    until("it is at rest", || running.said().contains("nothing to do") && pipeline.state("done").0 == "succeeded");
    // The seal of the journal, the first heartbeats and the first looks are no idleness.
    sleep(Duration::from_secs(6));
    let counts = pipeline.path("counts");
    let strace = format!("timeout {IDLE_S} strace -f -c -o \"$0\" -p {}", running.id());
    let end = Command::new("sh").args(["-c", &strace]).arg(&counts).stderr(Stdio::null()).status().unwrap();
    let table = fs::read_to_string(&counts).unwrap_or_default();
    let Some(total) = table.lines().find(|line| line.ends_with(" total")) else {
        println!("SKIPPED: strace may not look at sprag here ({end})");
        return;
    };
    let calls: u64 = total.split_whitespace().nth(3).unwrap().parse().unwrap();
    assert!(calls > 0 && calls < 20 * IDLE_S, "{calls} system calls in {IDLE_S} s:\n{table}");
}
