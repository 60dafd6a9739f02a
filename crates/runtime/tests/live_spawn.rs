//! What a command gets, and what becomes of one that cannot be executed.

mod live_common;

use live_common::{World, make_file, runtime};
use sprag_core::{Outcome, SpawnFailure};
use sprag_runtime::seams::{Processes, SpawnSpec};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::PermissionsExt as _;

#[test]
fn a_command_reads_its_payload_byte_for_byte() {
    runtime().block_on(async {
        let mut world = World::new();
        let long: Vec<u8> = (0..1 << 20).map(|at: u32| (at ^ (at >> 8)).to_le_bytes()[0]).collect();
        // One input file: longer, shorter, empty, and longer again.
        for payload in [b"{\"a\":1}".to_vec(), long, vec![0, 255, b'\n'], Vec::new(), b"end".to_vec()] {
            let spec = SpawnSpec { payload: payload.clone(), ..world.spec(1, &["cat"]) };
            assert_eq!(world.run(&spec), Outcome::Exit(0));
            assert!(fs::read(world.path("1.log")).unwrap() == payload, "{} bytes came out differently", payload.len());
            assert!(fs::read(&spec.input).unwrap() == payload);
        }
        assert_eq!(fs::metadata(world.path("1.in")).unwrap().permissions().mode() & 0o777, 0o600);
    });
}

#[test]
fn a_command_has_the_environment_it_was_given_and_no_other() {
    runtime().block_on(async {
        let mut world = World::new();
        let mut spec = world.spec(1, &["env"]);
        spec.env.insert("EMPTY".into(), String::new());
        spec.env.insert("WORDS".into(), "a b = \" $HOME 'é'".into());
        assert_eq!(world.run(&spec), Outcome::Exit(0));
        let mut seen: Vec<String> = world.log(1).lines().map(ToOwned::to_owned).collect();
        seen.sort();
        let given: Vec<String> = spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(seen, given);
    });
}

#[test]
fn a_command_has_three_descriptors_and_its_own_group_and_folder() {
    runtime().block_on(async {
        let mut world = World::new();
        let _ours = fs::File::open("/dev/null").unwrap();
        let script = "ls /proc/self/fd; pwd -P; readlink /proc/$$/fd/0; cut -d' ' -f5 /proc/$$/stat; echo $$";
        assert_eq!(world.run(&world.script(1, script)), Outcome::Exit(0));
        let log = world.log(1);
        let lines: Vec<&str> = log.lines().collect();
        // The fourth is the folder that `ls` itself reads.
        assert_eq!(&lines[..4], ["0", "1", "2", "3"], "{log}");
        assert_eq!(lines.len(), 8, "{log}");
        assert_eq!(lines[4], fs::canonicalize(world.dir.path()).unwrap().to_str().unwrap());
        assert_eq!(lines[5], fs::canonicalize(world.path("1.in")).unwrap().to_str().unwrap());
        assert_eq!(lines[6], lines[7], "the command leads its group");
    });
}

#[test]
fn outputs_are_emptied_first_and_a_common_one_keeps_the_order() {
    runtime().block_on(async {
        let mut world = World::new();
        fs::write(world.path("1.log"), "what an earlier command wrote, and more of it than this one does").unwrap();
        let script = "echo one; echo two >&2; echo three";
        assert_eq!(world.run(&world.script(1, script)), Outcome::Exit(0));
        assert_eq!(world.log(1), "one\ntwo\nthree\n");

        // What is cut while it is written to is written to at its new end.
        assert_eq!(world.run(&world.script(1, "echo one; : > 1.log; echo two")), Outcome::Exit(0));
        assert_eq!(world.log(1), "two\n");

        fs::write(world.path("1.out"), "old").unwrap();
        let spec = SpawnSpec { stdout: world.path("1.out"), ..world.script(1, script) };
        assert_eq!(world.run(&spec), Outcome::Exit(0));
        assert_eq!(world.log(1), "two\n");
        assert_eq!(fs::read_to_string(world.path("1.out")).unwrap(), "one\nthree\n");
    });
}

#[test]
fn a_command_dies_of_a_broken_pipe() {
    runtime().block_on(async {
        let mut world = World::new();
        assert_eq!(world.run(&world.script(1, "kill -PIPE $$; exit 7")), Outcome::Signal(13));
        assert_eq!(world.run(&world.script(2, "grep -E 'Sig(Blk|Ign)' /proc/self/status")), Outcome::Exit(0));
        let log = world.log(2);
        let masks: Vec<u64> =
            log.lines().map(|line| u64::from_str_radix(line.rsplit('\t').next().unwrap(), 16).unwrap()).collect();
        assert_eq!(masks.len(), 2, "{log}");
        assert_eq!(masks[0], 0, "nothing is blocked: {log}");
        assert_eq!(masks[1] & (1 << 12), 0, "a broken pipe is not ignored: {log}");
    });
}

#[test]
fn a_command_is_found_along_its_own_path() {
    runtime().block_on(async {
        let mut world = World::new();
        fs::create_dir(world.path("bin")).unwrap();
        make_file(&world.path("bin/greet"), "#!/bin/sh\\necho $0 $1\\n", "755");
        let shown = world.path("bin/greet");

        let mut along_path = world.spec(1, &["greet", "path"]);
        along_path.env.insert("PATH".into(), "/nonexistent:bin:/usr/bin".into());
        assert_eq!(world.run(&along_path), Outcome::Exit(0));
        assert_eq!(world.log(1), format!("{} path\n", shown.display()));

        assert_eq!(world.run(&world.spec(2, &["./bin/greet", "folder"])), Outcome::Exit(0));
        assert!(world.log(2).ends_with(" folder\n"), "{}", world.log(2));

        let mut no_path = world.spec(3, &["true"]);
        no_path.env.remove("PATH");
        assert_eq!(world.run(&no_path), Outcome::Exit(0));

        // A name that is found but may not be executed does not hide one further along.
        fs::create_dir(world.path("first")).unwrap();
        make_file(&world.path("first/greet"), "no", "644");
        let mut second = world.spec(4, &["greet", "second"]);
        second.env.insert("PATH".into(), "first:bin:/bin".into());
        assert_eq!(world.run(&second), Outcome::Exit(0));
    });
}

#[test]
fn what_cannot_be_executed_is_told_apart() {
    runtime().block_on(async {
        let mut world = World::new();
        make_file(&world.path("plain"), "#!/bin/sh\\n", "644");
        make_file(&world.path("garbage"), "\\0001\\0002 no program", "755");
        make_file(&world.path("no-interpreter"), "#!/nonexistent/interpreter\\n", "755");
        assert!(std::process::Command::new("cp").arg("/bin/true").arg(world.path("busy")).status().unwrap().success());
        let _writer = OpenOptions::new().write(true).open(world.path("busy")).unwrap();
        let long = "x".repeat(200 << 10);
        let plain = world.path("plain");

        let mut in_path = world.spec(1, &["plain"]);
        in_path.env.insert("PATH".into(), world.dir.path().to_str().unwrap().into());
        let no_dir = SpawnSpec { dir: world.path("missing"), ..world.spec(1, &["true"]) };
        let no_slots = SpawnSpec { input: world.path("missing/1.in"), ..world.spec(1, &["true"]) };
        let no_log = SpawnSpec { stderr: world.path("missing/1.log"), ..world.spec(1, &["true"]) };
        let cases = [
            ("not along the path", world.spec(1, &["no-such-program"]), SpawnFailure::NotFound),
            ("no name", world.spec(1, &[""]), SpawnFailure::NotExecutable),
            ("no such file", world.spec(1, &["./missing"]), SpawnFailure::NotFound),
            ("no such absolute file", world.spec(1, &["/missing/program"]), SpawnFailure::NotFound),
            ("below a file", world.spec(1, &["./plain/program"]), SpawnFailure::NotFound),
            ("no interpreter", world.spec(1, &["./no-interpreter"]), SpawnFailure::NotFound),
            ("no working directory", no_dir, SpawnFailure::NotFound),
            ("not executable", world.spec(1, &["./plain"]), SpawnFailure::NotExecutable),
            ("not executable, along the path", in_path, SpawnFailure::NotExecutable),
            ("absolute, not executable", world.spec(1, &[plain.to_str().unwrap()]), SpawnFailure::NotExecutable),
            ("a folder", world.spec(1, &["/usr/bin/"]), SpawnFailure::NotExecutable),
            ("no program", world.spec(1, &["./garbage"]), SpawnFailure::NotExecutable),
            ("too long", world.spec(1, &["true", &long]), SpawnFailure::NotExecutable),
            ("a zero byte", world.spec(1, &["true", "a\0b"]), SpawnFailure::NotExecutable),
            ("being written", world.spec(1, &["./busy"]), SpawnFailure::NotStarted),
            ("no folder for the input", no_slots, SpawnFailure::Resources),
            ("no folder for the output", no_log, SpawnFailure::Resources),
        ];
        for (what, spec, expected) in cases {
            assert_eq!(world.start(&spec), Err(expected), "{what}");
            assert!(world.children.is_empty(), "{what}");
            assert!(world.is_free(1), "{what}: the lock is still held");
        }
        assert_eq!(world.run(&world.spec(1, &["true"])), Outcome::Exit(0));
    });
}

#[test]
fn a_command_is_not_started_while_another_has_its_lock() {
    runtime().block_on(async {
        let mut world = World::new();
        world.start(&world.script(1, "echo first; sleep 10")).unwrap();
        live_common::eventually("it should have begun", || world.log(1) == "first\n").await;
        let second = SpawnSpec { payload: b"second".to_vec(), ..world.spec(1, &["true"]) };
        assert_eq!(world.start(&second), Err(SpawnFailure::Resources));
        assert_eq!(world.log(1), "first\n", "its output was touched");
        assert_eq!(fs::read(&second.input).unwrap(), b"", "its input was touched");
        world.processes.signal(live_common::attempt(1), sprag_core::Kill::Kill);
        world.deliver();
        assert_eq!(world.next().outcome, Outcome::Signal(9));
        assert_eq!(world.run(&second), Outcome::Exit(0));
    });
}
