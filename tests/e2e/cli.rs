//! The command line without a run: help, bad input, the drop-box, exit codes.

use crate::support::{Pipeline, names};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

const ONE_QUEUE: &str = "[queue.implement]\ncommand = [\"true\"]\n";

#[test]
fn every_help_has_an_example_and_the_first_one_all_exit_codes() {
    let pipeline = Pipeline::new(ONE_QUEUE);
    let commands = [
        ["", "run", "add", "list", "status", "show", "journal", "journal verify", "journal dump", "init"],
        ["log", "wait", "cancel", "retry", "pause", "resume", "drain", "health", "export", "completions"],
    ];
    let commands = commands.concat().into_iter().map(str::split_whitespace);
    for command in commands {
        let args: Vec<&str> = command.chain(["--help"]).collect();
        let help = pipeline.sprag(&args);
        assert_eq!((help.code, help.err.as_str()), (Some(0), ""), "{args:?}");
        assert!(help.out.contains("Example") && help.out.contains("  sprag "), "{args:?}: {}", help.out);
    }
    let help = pipeline.sprag(&["--help"]).out;
    for (code, meaning) in
        [(0, "all went well"), (4, "another sprag runs"), (5, "damaged"), (8, "signal"), (70, "a bug")]
    {
        let told = |line: &&str| line.trim_start().starts_with(&format!("{code}  ")) && line.contains(meaning);
        assert!(help.lines().any(|line| told(&line)), "no exit code {code} in {help}");
    }
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    let pipeline = Pipeline::new(ONE_QUEUE);
    for args in [
        &["frobnicate"][..],
        &[],
        &["show", "three"],
        &["list", "--state", "alive"],
        &["list", "--queue", "nobody"],
        &["add"],
        &["add", "implement", "1", "--delay", "5"],
        &["add", "implement", "1", "--delay", "5s", "--at", "2030-01-01T00:00:00Z"],
        &["add", "implement", "1", "--at", "tomorrow"],
        &["add", "implement", "1", "--priority", "40000"],
        &["add", "implement", "1", "--key", ""],
        &["add", "implement", "1", "--lines", "-"],
        &["add", "implement", "--key-at", "/id"],
        &["wait"],
        &["cancel", "one"],
        &["retry"],
        &["retry", "1", "--dead", "implement"],
        &["completions", "dos"],
    ] {
        let answer = pipeline.sprag(args);
        assert_eq!((answer.code, answer.out.as_str()), (Some(2), ""), "{args:?}: {answer:?}");
        assert!(!answer.err.is_empty(), "{args:?}");
    }
    assert!(!pipeline.path(".sprag").exists(), "a refusal leaves nothing behind");
}

#[test]
fn a_wrong_configuration_ends_with_3_and_names_the_line() {
    let pipeline = Pipeline::new("[queue.implement]\ncomand = [\"true\"]\n");
    for args in [&["run"][..], &["run", "."], &["add", "implement", "1"], &["-C", ".", "status"]] {
        let answer = pipeline.sprag(args);
        assert_eq!(answer.code, Some(3), "{args:?}: {answer:?}");
        assert_eq!(
            answer.err,
            "sprag: sprag.toml:2:1: unknown key `comand` in [queue.implement], did you mean `command`?\n  \
             to mend it: keys known here: command, concurrency, timeout, grace, retry, output, log_max\n",
            "{args:?}"
        );
    }
    fs::remove_file(pipeline.path("sprag.toml")).unwrap();
    for args in [&["run"][..], &["add", "implement", "1"], &["list"], &["status"], &["show", "1"], &["journal", "dump"]]
    {
        let answer = pipeline.sprag(args);
        assert_eq!((answer.code, answer.out.as_str()), (Some(3), ""), "{args:?}: {answer:?}");
        assert!(answer.err.contains("sprag.toml") && answer.err.contains("to mend it: "), "{args:?}: {}", answer.err);
    }
}

#[test]
fn before_the_first_run_there_is_nothing_to_see() {
    let pipeline = Pipeline::new(ONE_QUEUE);
    assert_eq!(pipeline.sprag(&["list"]).out, "no jobs\n");
    assert!(pipeline.json(&["list"]).is_empty());
    let status = &pipeline.json(&["status"])[0];
    assert!(status["running_pid"].is_null(), "{status}");
    assert_eq!((&status["health"], &status["queues"][0]["name"]), (&"unknown".into(), &"implement".into()), "{status}");
    let show = pipeline.sprag(&["show", "1"]);
    assert_eq!((show.code, show.out.as_str()), (Some(1), ""));
    assert_eq!(show.err, "sprag: there is no job 1\n  to mend it: `sprag list` shows the jobs there are\n");
    assert_eq!(pipeline.sprag(&["journal", "verify"]).out, "no journal has been begun yet\n");
    assert!(!pipeline.path(".sprag").exists(), "looking leaves nothing behind");
}

/// The one file in the drop-box, read and taken out.
fn dropped(pipeline: &Pipeline) -> String {
    let new = pipeline.path(".sprag/inbox/new");
    let [name] = &names(&new)[..] else { panic!("not one file: {:?}", names(&new)) };
    let text = fs::read_to_string(new.join(name)).unwrap();
    fs::remove_file(new.join(name)).unwrap();
    text
}

#[test]
fn add_puts_a_whole_file_into_the_drop_box() {
    let pipeline = Pipeline::new(ONE_QUEUE);
    let moment = "1893456000000";
    for (args, expected) in [
        (&["{ \"id\": 1 }"][..], r#"{"queue":"implement","payload":{"id":1}}"#.to_owned()),
        (&[], r#"{"queue":"implement","payload":null}"#.to_owned()),
        (&["--text", "a \"b\"\n"], r#"{"queue":"implement","payload":"a \"b\"\n"}"#.to_owned()),
        (
            &["[]", "--key", "k\u{e4}", "--priority", "-3", "--delay", "1m30s"],
            r#"{"queue":"implement","payload":[],"key":"kä","priority":-3,"delay_ms":90000}"#.to_owned(),
        ),
        (&["1", "--at", "2030-01-01T00:00:00Z"], format!(r#"{{"queue":"implement","payload":1,"at_ms":{moment}}}"#)),
        (&["1", "--at", "2030-01-01 00:00"], format!(r#"{{"queue":"implement","payload":1,"at_ms":{moment}}}"#)),
    ] {
        let answer = pipeline.sprag(&[&["add", "implement"], args].concat());
        assert_eq!((answer.code, answer.err.as_str()), (Some(0), ""), "{args:?}");
        assert!(answer.out.ends_with("no sprag runs here: the next `sprag run` takes it\n"), "{}", answer.out);
        assert_eq!(dropped(&pipeline), expected + "\n", "{args:?}");
        assert!(names(&pipeline.path(".sprag/inbox/tmp")).is_empty());
    }
    let file = pipeline.json(&["add", "implement", "--key", "k"])[0]["file"].as_str().unwrap().to_owned();
    let mode = |path: &str| fs::metadata(pipeline.path(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(".sprag"), mode(".sprag/inbox/new"), mode(&file)), (0o700, 0o700, 0o600));
}

#[test]
fn add_reads_standard_input() {
    let pipeline = Pipeline::new(ONE_QUEUE);
    for (input, code, err) in [
        ("[1,\n 2]\n", 0, ""),
        ("[1,", 2, "sprag: the payload is not JSON: it ends where a value should stand, at line 1 column 3"),
    ] {
        let mut command = pipeline.command(&["add", "implement", "-"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let answer = child.wait_with_output().unwrap();
        assert_eq!(answer.status.code(), Some(code), "{input}");
        assert_eq!(String::from_utf8_lossy(&answer.stderr).lines().next().unwrap_or_default(), err);
    }
    assert_eq!(dropped(&pipeline), "{\"queue\":\"implement\",\"payload\":[1,2]}\n");
}

#[test]
fn add_refuses_what_no_run_could_take() {
    let pipeline = Pipeline::new(ONE_QUEUE);
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    let long = format!("--key={}", "k".repeat(4097));
    for (args, message) in [
        (["add", "implemnt", "1"], "there is no queue \"implemnt\", did you mean `implement`?"),
        (
            ["add", "implement", "{'id': 1}"],
            "the payload is not JSON: a name must stand in double quotes, at line 1 column 2",
        ),
        (["add", "implement", &deep], "the payload is nested deeper than 64"),
        (["add", "implement", &long], "the key is unfit: a key longer than 4096 bytes"),
    ] {
        let answer = pipeline.sprag(&args);
        assert_eq!((answer.code, answer.out.as_str()), (Some(2), ""), "{args:?}");
        assert_eq!(answer.err.lines().next().unwrap(), format!("sprag: {message}"), "{args:?}");
    }
    assert!(!pipeline.path(".sprag").exists());
}

#[test]
fn an_unsafe_folder_ends_with_7() {
    let pipeline = Pipeline::new(ONE_QUEUE);
    let chmod = |path: &str, mode| {
        fs::set_permissions(pipeline.path(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    fs::create_dir(pipeline.path(".sprag")).unwrap();
    for (state, above, code) in [(0o770, 0o700, 7), (0o707, 0o700, 7), (0o700, 0o707, 7), (0o700, 0o1777, 0)] {
        chmod(".sprag", state);
        chmod(".", above);
        for args in [&["add", "implement", "1"][..], &["run", "--until-idle"]] {
            let answer = pipeline.sprag(args);
            assert_eq!(answer.code, Some(code), "{state:o} under {above:o}, {args:?}: {answer:?}");
            assert_eq!(answer.err.contains("chmod"), code == 7, "{answer:?}");
        }
    }
    chmod(".", 0o700);
    fs::rename(pipeline.path(".sprag"), pipeline.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere", pipeline.path(".sprag")).unwrap();
    for args in [&["add", "implement", "1"][..], &["run", "--until-idle"]] {
        assert_eq!(pipeline.sprag(args).code, Some(7), "a symbolic link");
    }
}
