//! What an operator does to a sprag that runs, what the one before the screen sees of it, and what is left afterwards.

use crate::support::{Pipeline, until};
use std::fs;
use std::process::Stdio;

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
