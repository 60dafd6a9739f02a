//! The end of a run, and the next one: nothing is lost, and no attempt is held against a job that we ended.

use crate::support::{Pipeline, until};
use std::fs;
use std::path::Path;
use std::time::Instant;

/// One attempt only: a job whose attempt was held against it would be dead.
const PATIENT: &str = "[queue.q]\ncommand = [\"sh\", \"-c\", \"trap '' TERM; while ! test -e go; do sleep 0.05; done\"]\n\
     grace = \"1s\"\nretry = { attempts = 1 }\n[run]\nstop_timeout = ";

fn one_job(stop_timeout: &str) -> Pipeline {
    Pipeline::new(&format!("{PATIENT}\"{stop_timeout}\"\n"))
}

fn running_jobs(pipeline: &Pipeline) -> u64 {
    pipeline.json(&["status"])[0]["queues"][0]["jobs"]["running"].as_u64().unwrap()
}

/// The job that was interrupted runs to its end, in its second attempt.
fn assert_goes_on(pipeline: &Pipeline, after: &str) {
    pipeline.write("go", "");
    let answer = pipeline.sprag(&["run", "--until-idle"]);
    assert_eq!(answer.code, Some(0), "after {after}: {answer:?}");
    assert_eq!(pipeline.state("k"), ("succeeded".into(), 2), "after {after}");
}

#[test]
fn a_stop_waits_as_long_as_it_was_told_and_a_second_one_waits_for_nothing() {
    for (stop_timeout, signals) in [("1s", 1), ("1h", 2)] {
        let pipeline = one_job(stop_timeout);
        let running = pipeline.start(&[]);
        assert_eq!(pipeline.sprag(&["add", "q", "1", "--key", "k"]).code, Some(0));
        until("it runs", || running_jobs(&pipeline) == 1);
        let begin = Instant::now();
        running.terminate();
        if signals == 2 {
            std::thread::sleep(std::time::Duration::from_millis(300));
            running.terminate();
        }
        let (code, said) = running.end();
        assert_eq!(code, Some(0), "{said}");
        assert!(begin.elapsed().as_secs() < 30, "{stop_timeout}: it took {:?}", begin.elapsed());
        assert_goes_on(&pipeline, &format!("{signals} signals"));
    }
}

#[test]
fn a_kill_and_a_reboot_cost_no_retry() {
    for reboot in [false, true] {
        let pipeline = one_job("1s");
        let mut running = Some(pipeline.start(&[]));
        assert_eq!(pipeline.sprag(&["add", "q", "1", "--key", "k"]).code, Some(0));
        until("it runs", || running_jobs(&pipeline) == 1);
        drop(running.take());
        if reboot {
            // No process of before is alive, and the number that the lock's file holds is that of somebody else.
            let lock = pipeline.path(".sprag/lock");
            fs::write(&lock, format!("{{\"format\":1,\"pid\":{}}}\n", std::process::id())).unwrap();
            let _ = fs::remove_dir_all(pipeline.path(".sprag/slots"));
        }
        assert_goes_on(&pipeline, if reboot { "a reboot" } else { "a kill" });
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn files_of_version_1_are_taken_up_and_those_of_a_later_one_are_refused_untouched() {
    let pipeline = Pipeline::new("[queue.a]\ncommand = [\"true\"]\n");
    let state = pipeline.path(".sprag");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/v1"), &state);
    let before = pipeline.json(&["list"]).len();
    assert!(before > 3, "{before} jobs");
    // One result is still to be published, and its file is not in the fixture: this run is never idle.
    let running = pipeline.start(&[]);
    let ready = || pipeline.json(&["list", "--queue", "a"]).iter().filter(|job| job["state"] == "ready").count();
    until("what was pending is done", || ready() == 0);
    running.terminate();
    assert_eq!(running.end().0, Some(0));

    let journal = state.join("journal");
    let mut segments: Vec<_> = fs::read_dir(&journal).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.sort();
    for (file, known) in [(segments.pop().unwrap(), "\"version\":1"), (state.join("lock"), "\"format\":1")] {
        let text = fs::read_to_string(&file).unwrap();
        let later = text.replacen(known, &known.replace('1', "9"), 1);
        assert_ne!(text, later, "{}", file.display());
        fs::write(&file, &later).unwrap();
        let answer = pipeline.sprag(&["run", "--until-idle"]);
        assert_eq!(answer.code, Some(13), "{}: {answer:?}", file.display());
        assert!(answer.err.contains("version 9") && answer.err.contains("use the program that wrote it"), "{answer:?}");
        if file.ends_with("lock") {
            assert_eq!(fs::read_to_string(&file).unwrap(), later);
        }
        fs::write(&file, text).unwrap();
    }
    assert_eq!(pipeline.sprag(&["journal", "verify"]).code, Some(0));
}

#[test]
fn keys_of_forgotten_jobs_are_let_go_but_never_while_their_item_stands() {
    let pipeline = Pipeline::new(
        "[queue.q]\ncommand = [\"sh\", \"-c\", \"echo $SPRAG_KEY >> ran\"]\n\
         [[source]]\npath = \"items.json\"\nformat = \"json-array\"\nqueue = \"q\"\nkey = \"/id\"\n\
         [run]\nkeep_jobs = 0\nkeep_keys = 0\n",
    );
    let ran = |key: &str| pipeline.read("ran").lines().filter(|line| *line == key).count();
    pipeline.write("items.json", "[{\"id\":\"stands\"},{\"id\":\"goes\"}]");
    assert_eq!(pipeline.sprag(&["add", "q", "1", "--key", "by-hand"]).code, Some(0));
    assert_eq!(pipeline.sprag(&["run", "--until-idle"]).code, Some(0));
    assert_eq!((ran("stands"), ran("goes"), ran("by-hand")), (1, 1, 1));
    // A later life knows what stands there, and that nobody will come with the other keys by mistake.
    pipeline.write("items.json", "[{\"id\":\"stands\"}]");
    let running = pipeline.start(&[]);
    let forgotten = || pipeline.sprag(&["journal", "dump"]).out.matches("\"key_forgotten\"").count();
    until("two keys are let go", || forgotten() == 2);
    pipeline.write("items.json", "[{\"id\":\"goes\"},{\"id\":\"stands\"}]");
    assert_eq!(pipeline.sprag(&["add", "q", "1", "--key", "by-hand"]).code, Some(0));
    until("they run again", || ran("goes") == 2 && ran("by-hand") == 2);
    running.terminate();
    assert_eq!(running.end().0, Some(0));
    // While the source cannot be read, nobody knows.
    fs::rename(pipeline.path("items.json"), pipeline.path("aside")).unwrap();
    let before = forgotten();
    let running = pipeline.start(&[]);
    assert_eq!(pipeline.sprag(&["add", "q", "1", "--key", "other"]).code, Some(0));
    until("another job is done", || ran("other") == 1);
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(forgotten(), before);
    drop(running);
    fs::rename(pipeline.path("aside"), pipeline.path("items.json")).unwrap();
    assert_eq!(pipeline.sprag(&["run", "--until-idle"]).code, Some(0));
    assert_eq!((ran("stands"), ran("goes")), (1, 2));
}
