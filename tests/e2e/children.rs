//! Commands that do what commands should not, and a system that is short of everything.

use crate::support::{Pipeline, Running, until};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

const SPRAG: &str = env!("CARGO_BIN_EXE_sprag");

/// The room that a file takes on the disk, in bytes.
fn room(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.blocks() * 512)
}

/// All processes: number, parent, state.
fn processes() -> Vec<(u32, u32, String)> {
    let numbers = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let stat = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut rest = stat.rsplit_once(')')?.1.split_whitespace();
        let state = rest.next()?.to_owned();
        Some((pid, rest.next()?.parse().ok()?, state))
    };
    numbers.filter_map(stat).collect()
}

fn children_of(parent: u32) -> Vec<(u32, u32, String)> {
    processes().into_iter().filter(|(_, of, _)| *of == parent).collect()
}

/// Whether a process lives that has its working folder here.
fn anybody_in(dir: &Path, but: u32) -> bool {
    let dir = fs::canonicalize(dir).unwrap();
    let here = |pid: &u32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == dir);
    processes().iter().any(|(pid, _, state)| *pid != but && state != "Z" && here(pid))
}

#[expect(clippy::print_stderr, reason = "what was skipped is to be seen")]
fn can(program: &str, args: &[&str]) -> bool {
    let works = Command::new(program).args(args).output().is_ok_and(|output| output.status.success());
    if !works {
        eprintln!("skipped: `{program}` does not work here");
    }
    works
}

fn stop(running: Running) -> String {
    running.terminate();
    let (code, said) = running.end();
    assert_eq!(code, Some(0), "{said}");
    said
}

const WEDGED: &str = r#"
trap '' TERM HUP INT
echo $$ >> pids
setsid -f sh -c 'trap "" TERM HUP; echo $$ >> pids; setsid -f sh -c "trap \"\" TERM; echo \$\$ >> pids; sleep 600"; sleep 600'
(trap '' TERM; echo in the same group >> pids.group; sleep 600) &
echo the beginning
head -c 1073741824 /dev/zero | tr '\0' 'x'
echo; echo the end
touch written
while :; do sleep 1; done
"#;

#[test]
fn a_wedged_command_is_gone_at_its_timeout_and_its_log_is_bounded() {
    let config = "[queue.q]\ncommand = [\"sh\", \"wedged.sh\"]\ntimeout = \"30s\"\ngrace = \"300ms\"\nlog_max = \"1MiB\"\n\
        retry = { attempts = 1 }\n";
    let pipeline = Pipeline::new(config);
    pipeline.write("wedged.sh", WEDGED);
    pipeline.sprag(&["add", "q", "--key", "wedged"]);
    let running = pipeline.start(&[]);
    until("it has written", || pipeline.path("written").exists() || pipeline.state("wedged").0 == "dead");
    let log = pipeline.path(".sprag/slots/0.log");
    let state = || pipeline.state("wedged").0;
    let held = |file: &fs::Metadata| file.len() > 1 << 30 && file.blocks() * 512 <= (1 << 20) + (64 << 10);
    let dead = || state() == "dead";
    until("its log is held to its limit while it runs", || fs::metadata(&log).is_ok_and(|file| held(&file)) || dead());
    assert!(!dead(), "it wrote a gibibyte before its time was over, and its log was held to its limit");
    shown_log_has_both_ends(&pipeline);
    until("it is dead", || state() == "dead");
    let story = pipeline.sprag(&["show", "1"]).out;
    assert!(story.contains("it ran longer than its timeout"), "{story}");

    let pids: Vec<u32> = pipeline.read("pids").lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(pids.len(), 3, "it, its child and its grandchild said who they are");
    assert!(pipeline.path("pids.group").exists());
    let alive: Vec<_> = processes().into_iter().filter(|(pid, _, state)| state != "Z" && pids.contains(pid)).collect();
    assert!(alive.is_empty(), "{alive:?} are still there");
    assert!(!anybody_in(&pipeline.path(""), running.id()), "somebody is left in the folder");
    assert_eq!(children_of(running.id()), [], "nobody is left unreaped");
    assert!(fs::metadata(pipeline.path(".sprag/attempts/0/1.1.log")).unwrap().len() <= (1 << 20) + 200);
    shown_log_has_both_ends(&pipeline);
    stop(running);
}

fn shown_log_has_both_ends(pipeline: &Pipeline) {
    let shown = pipeline.sprag(&["log", "1"]).out;
    assert!(shown.starts_with("the beginning\nxxxx"), "{:?}", &shown[..100]);
    assert!(shown.contains("bytes are left out here"), "{} bytes are shown", shown.len());
    assert!(shown.len() < (1 << 20) + (16 << 10), "{} bytes are shown", shown.len());
    assert!(!shown.contains('\0') && !shown.contains("\\0") && !shown.contains('\u{fffd}'));
    assert!(shown.ends_with("xxxx\nthe end\n"), "{:?}", &shown[shown.len() - 100..]);
}

#[test]
fn a_result_over_the_limit_is_named_and_leaves_nothing_on_the_disk() {
    let config = "[queue.q]\ncommand = [\"sh\", \"-c\", \"head -c 269484032 /dev/zero\"]\noutput = \"{key}\"\n\
        retry = { attempts = 1 }\n[queue.r]\ncommand = [\"sh\", \"-c\", \"head -c 269484032 /dev/zero > $SPRAG_RESULT\"]\n\
        output = \"r/{key}\"\nretry = { attempts = 1 }\n";
    let pipeline = Pipeline::new(config);
    for queue in ["q", "r"] {
        pipeline.sprag(&["add", queue, "--key", queue]);
    }
    assert_eq!(pipeline.sprag(&["run", "--until-idle"]).code, Some(0));
    for (job, queue) in ["q", "r"].into_iter().enumerate() {
        assert_eq!(pipeline.state(queue).0, "dead");
        let story = pipeline.sprag(&["show", &(job + 1).to_string()]).out;
        assert!(story.contains("its result is over the limit of 256 MiB"), "{story}");
        assert!(!pipeline.path(queue).exists());
    }
    for folder in ["slots", "attempts/0"] {
        for entry in fs::read_dir(pipeline.path(".sprag").join(folder)).unwrap() {
            let path = entry.unwrap().path();
            assert!(room(&path) < 1 << 20, "{} takes {} bytes", path.display(), room(&path));
        }
    }
}

#[test]
fn what_a_service_writes_is_bounded() {
    let config = "[service.s]\ncommand = [\"sh\", \"serve.sh\"]\nkind = \"keep\"\nlog_max = \"128KiB\"\n";
    let pipeline = Pipeline::new(config);
    pipeline.write("serve.sh", "head -c 67108864 /dev/zero | tr '\\0' x; touch written; sleep 600\n");
    let running = pipeline.start(&[]);
    until("it has written", || pipeline.path("written").exists());
    let log = pipeline.path(".sprag/slots/service-s.log");
    until("its log is held to its limit", || room(&log) <= (128 << 10) + (64 << 10));
    assert_eq!(fs::metadata(&log).unwrap().len(), 64 << 20);
    assert!(fs::read(&log).unwrap().ends_with(b"xxxx"));
    stop(running);
}

#[test]
fn why_a_command_was_not_executed_stands_in_its_log_and_no_retry_is_wasted_on_it() {
    let queues = [
        ("missing", "no-such-program", "there is no such program along its PATH"),
        ("plain", "./plain", "it may not be executed"),
        ("garbage", "./garbage", "is no program"),
        ("orphan", "./orphan", "the interpreter or loader that it names is missing"),
    ];
    let config: String =
        queues.iter().map(|(name, program, _)| format!("[queue.{name}]\ncommand = [\"{program}\"]\n")).collect();
    let pipeline = Pipeline::new(&config);
    let made = "printf 'no program' > plain; printf '\\1\\2' > garbage; printf '#!/no/such/interpreter\\n' > orphan; \
        chmod 755 garbage orphan";
    assert!(Command::new("sh").args(["-c", made]).current_dir(pipeline.path("")).status().unwrap().success());
    for (name, ..) in queues {
        pipeline.sprag(&["add", name, "--key", name]);
    }
    let ran = pipeline.sprag(&["run", "--until-idle"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for (job, (name, _, why)) in (1..).zip(queues) {
        assert_eq!(pipeline.state(name), ("dead".into(), 1), "{name}");
        let log = pipeline.sprag(&["log", &job.to_string()]).out;
        assert!(log.contains("[sprag: cannot execute") && log.contains(why), "{name}: {log}");
        let story = pipeline.sprag(&["show", &job.to_string()]).out;
        assert!(story.contains("its command") && story.contains("its output: "), "{story}");
        assert!(ran.out.contains(why) || ran.err.contains(why), "{ran:?}");
    }
}

#[test]
fn a_shortage_of_descriptors_costs_no_attempt() {
    let config = "[queue.q]\ncommand = [\"sleep\", \"0.3\"]\nconcurrency = 40\nretry = { attempts = 1 }\n";
    let pipeline = Pipeline::new(config);
    let jobs: String = (0..60).map(|n| format!("{n}\n")).collect();
    pipeline.write("jobs", &jobs);
    let mut sprag = Command::new("sh");
    sprag.args(["-c", "ulimit -n 40; exec \"$0\" run", SPRAG]);
    let running = pipeline.start_as(sprag);
    assert_eq!(pipeline.sprag(&["add", "q", "--lines", "jobs"]).code, Some(0));
    all_succeed_at_once_or_later(&pipeline, &running, 60);
}

#[test]
fn a_shortage_of_processes_costs_no_attempt() {
    // Only root can be a user with a limit of its own.
    if !can("setpriv", &["--reuid=65534", "--clear-groups", "true"]) {
        return;
    }
    let config = "[queue.q]\ncommand = [\"sleep\", \"0.3\"]\nconcurrency = 40\nretry = { attempts = 1 }\n";
    let pipeline = Pipeline::new(config);
    let dir = fs::canonicalize(pipeline.path("")).unwrap();
    std::os::unix::fs::chown(&dir, Some(65534), None).unwrap();
    let program = pipeline.path("sprag");
    fs::copy(SPRAG, &program).unwrap();
    let jobs: String = (0..60).map(|n| format!("{n}\n")).collect();
    pipeline.write("jobs", &jobs);
    let theirs = processes()
        .iter()
        .filter(|(pid, ..)| fs::metadata(format!("/proc/{pid}")).is_ok_and(|p| p.uid() == 65534))
        .count();
    let mut sprag = Command::new("prlimit");
    sprag.arg(format!("--nproc={}", theirs + 24)).args([
        "setpriv",
        "--reuid=65534",
        "--clear-groups",
        "./sprag",
        "run",
    ]);
    let running = pipeline.start_as(sprag);
    assert_eq!(pipeline.sprag(&["add", "q", "--lines", "jobs"]).code, Some(0));
    all_succeed_at_once_or_later(&pipeline, &running, 60);
}

#[test]
fn a_command_that_is_being_written_holds_up_its_own_queue_alone() {
    let retry = "retry = { attempts = 9, backoff = \"1h\" }";
    let pipeline = Pipeline::new(&format!(
        "[queue.busy]\ncommand = [\"./prog\"]\nconcurrency = 2\n{retry}\n[queue.other]\ncommand = [\"true\"]\n"
    ));
    fs::copy("/bin/true", pipeline.path("prog")).unwrap();
    let writer = fs::OpenOptions::new().append(true).open(pipeline.path("prog")).unwrap();
    let running = pipeline.start(&[]);
    pipeline.write("jobs", "1\n2\n3\n");
    pipeline.sprag(&["add", "busy", "--lines", "jobs"]);
    until("all have been tried", || pipeline.json(&["list"]).iter().all(|job| job["state"] == "scheduled"));
    pipeline.sprag(&["add", "other", "--lines", "jobs"]);
    until("the other queue works", || pipeline.json(&["list", "--state", "succeeded"]).len() == 3);
    let jobs = pipeline.json(&["list", "--queue", "busy"]);
    assert!(jobs.iter().all(|job| job["state"] == "scheduled" && job["attempt"] == 1), "{jobs:?}");
    let said = running.said();
    let why = "attempt 1: ./prog cannot be executed: somebody has it open for writing (Text file busy";
    assert_eq!(said.matches(why).count(), 1, "said once a queue: {said}");
    assert!(!said.contains("for now"), "nothing else is held up: {said}");
    let log = pipeline.sprag(&["log", "1"]).out;
    assert!(log.starts_with("[sprag: cannot execute [\"./prog\"]: somebody has it open for writing"), "{log}");
    drop(writer);
}

fn all_succeed_at_once_or_later(pipeline: &Pipeline, running: &Running, jobs: u64) {
    let succeeded = || pipeline.json(&["status"])[0]["queues"][0]["jobs"]["succeeded"].as_u64().unwrap();
    until("all have succeeded", || succeeded() == jobs || pipeline.json(&["status"])[0]["running_pid"].is_null());
    assert_eq!(succeeded(), jobs, "{}", running.said());
    let said = running.said();
    assert!(said.contains("cannot be executed for now"), "there was no shortage: {said}");
    assert!(!said.contains("failed"), "{said}");
    until("nobody is left unreaped", || children_of(running.id()).iter().all(|(_, _, state)| state != "Z"));
}

#[test]
fn an_attempt_that_cannot_be_proved_dead_keeps_its_slot_and_health_says_so() {
    // Who is left behind has the lock, and can neither be found nor killed, like one that hangs in the kernel.
    let pipeline = Pipeline::new("[queue.q]\ncommand = [\"sh\", \"leave.sh\"]\n");
    let stays = "echo > away; until [ -e go ] || [ ! -e away ]; do /bin/sleep 0.05; done";
    pipeline
        .write("leave.sh", &format!("setsid -f env -i /bin/sh -c '{stays}'\nuntil [ -e away ]; do sleep 0.02; done\n"));
    let running = pipeline.start(&[]);
    pipeline.sprag(&["add", "q", "--key", "first"]);
    let status = || pipeline.json(&["status"]).remove(0);
    until("health says so", || status()["reasons"].to_string().contains("cannot be proved dead"));
    assert_eq!(status()["health"], "degraded");
    pipeline.sprag(&["add", "q", "--key", "second"]);
    sleep(Duration::from_millis(1_500));
    assert_eq!(pipeline.state("first").0, "running", "it has not ended yet");
    assert_eq!(pipeline.state("second").0, "ready", "the place is taken");
    pipeline.write("go", "");
    until("it is proved dead", || pipeline.state("first").0 == "succeeded");
    until("the place is free", || pipeline.state("second").0 == "succeeded");
    until("health is well", || status()["health"] == "well");
    stop(running);
}

#[test]
fn as_the_first_process_sprag_reaps_what_it_inherits() {
    let unshare = ["--pid", "--fork", "--mount-proc", "--kill-child"];
    if !can("unshare", &[&unshare[..], &["true"]].concat()) {
        return;
    }
    // It leaves someone behind who cannot be found, and who ends a little later.
    let config = "[queue.q]\ncommand = [\"sh\", \"-c\", \"setsid -f env -i /bin/sleep 0.3 <&- >&- 2>&-; sleep 0.1\"]\n\
        concurrency = 4\n";
    let pipeline = Pipeline::new(config);
    let mut sprag = Command::new("unshare");
    sprag.args(unshare).args([SPRAG, "run"]);
    let running = pipeline.start_as(sprag);
    let first = children_of(running.id())[0].0;
    for _ in 0..8 {
        pipeline.sprag(&["add", "q"]);
    }
    let succeeded = || pipeline.json(&["status"])[0]["queues"][0]["jobs"]["succeeded"].as_u64().unwrap();
    until("all have succeeded", || succeeded() == 8);
    assert!(!children_of(first).is_empty(), "it has inherited somebody");
    until("nobody is left unreaped", || children_of(first).is_empty());
}

#[test]
fn a_start_that_hangs_holds_up_no_other_command() {
    if !can("strace", &["--version"]) {
        return;
    }
    let config = "[queue.hangs]\ncommand = [\"./hangs\"]\n[queue.q]\ncommand = [\"sleep\", \"1\"]\n";
    let pipeline = Pipeline::new(config);
    let made = "printf '#!/bin/sh\\n' > hangs; chmod 755 hangs";
    assert!(Command::new("sh").args(["-c", made]).current_dir(pipeline.path("")).status().unwrap().success());
    let mut sprag = Command::new("strace");
    let path = fs::canonicalize(pipeline.path("")).unwrap().join("./hangs");
    sprag.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=execve", "-P"]).arg(&path);
    sprag.args(["-e", "inject=execve:delay_enter=20000000", SPRAG, "run"]);
    let running = pipeline.start_as(sprag);
    pipeline.sprag(&["add", "q", "--key", "before"]);
    until("it runs", || pipeline.state("before").0 == "running");
    sleep(Duration::from_millis(300));
    pipeline.sprag(&["add", "hangs", "--key", "hangs"]);
    until("what ran before is heard to end", || pipeline.state("before").0 == "succeeded");
    pipeline.sprag(&["add", "q", "--key", "after"]);
    until("another one is started and ends", || pipeline.state("after").0 == "succeeded");
    assert_eq!(pipeline.state("hangs").0, "running");
    assert!(running.said().contains("starting a command takes long"), "{}", running.said());
    until("the one that hung is done too", || pipeline.state("hangs").0 == "succeeded");
}

/// Whether cgroups can be made here.
#[expect(clippy::print_stderr, reason = "what was skipped is to be seen")]
fn can_make_cgroups() -> bool {
    let pipeline = Pipeline::new("[run]\ncgroup = true\n[queue.q]\ncommand = [\"true\"]\n");
    let tried = pipeline.sprag(&["run", "--until-idle"]);
    if tried.code != Some(0) {
        assert!(tried.err.contains("[run] cgroup"), "{tried:?}");
        eprintln!("skipped: {}", tried.err);
    }
    tried.code == Some(0)
}

/// Leaves its group, its mark and its input behind, and says who it is.
const ESCAPES: &str = "env -i setsid -f sh -c 'echo $$ >> pids; exec sleep 600' < /dev/null > /dev/null 2>&1\n\
    until [ -s pids ]; do sleep 0.01; done\n";

fn escaped(pipeline: &Pipeline) -> Vec<(u32, u32, String)> {
    let pids: Vec<u32> = pipeline.read("pids").lines().map(|line| line.parse().unwrap()).collect();
    assert!(!pids.is_empty());
    processes().into_iter().filter(|(pid, _, state)| state != "Z" && pids.contains(pid)).collect()
}

#[test]
fn nothing_leaves_a_cgroup() {
    if !can_make_cgroups() {
        return;
    }
    for (then, state) in [("exit 0", "succeeded"), ("exit 1", "dead"), ("sleep 600", "dead")] {
        for cgroup in [true, false] {
            let config = format!(
                "[run]\ncgroup = {cgroup}\n[queue.q]\ncommand = [\"sh\", \"escapes.sh\"]\ntimeout = \"2s\"\n\
                 grace = \"100ms\"\nretry = {{ attempts = 1 }}\n"
            );
            let pipeline = Pipeline::new(&config);
            pipeline.write("escapes.sh", &format!("{ESCAPES}{then}\n"));
            pipeline.sprag(&["add", "q", "--key", "k"]);
            let running = pipeline.start(&[]);
            until("it has ended", || pipeline.state("k").0 == state);
            if cgroup {
                until("what it left is gone", || escaped(&pipeline).is_empty());
            } else {
                // Seen, so that the test above is known to be one.
                let left = escaped(&pipeline);
                assert_eq!(left.len(), 1, "without a cgroup it gets away");
                Command::new("kill").args(["-9", &left[0].0.to_string()]).status().unwrap();
            }
            stop(running);
        }
    }
}

#[test]
fn what_an_earlier_life_left_in_its_cgroups_is_ended_before_its_job_runs_again() {
    if !can_make_cgroups() {
        return;
    }
    let config = |cgroup| format!("[run]\ncgroup = {cgroup}\n[queue.q]\ncommand = [\"sh\", \"escapes.sh\"]\n");
    // The next life finds it even if it makes no cgroups itself.
    for next in ["true", "false"] {
        let pipeline = Pipeline::new(&config("true"));
        pipeline.write("escapes.sh", &format!("{ESCAPES}kill -9 $PPID\nkill -9 $$\n"));
        pipeline.sprag(&["add", "q", "--key", "k"]);
        let (code, _) = pipeline.start(&[]).end();
        assert_eq!(code, None, "killed");
        assert_eq!(escaped(&pipeline).len(), 1, "it outlives sprag");
        pipeline.write("sprag.toml", &config(next));
        pipeline.write("escapes.sh", "exit 0\n");
        let running = pipeline.start(&[]);
        until("it has ended", || pipeline.state("k").0 == "succeeded");
        assert_eq!(escaped(&pipeline), []);
        let places = pipeline.read(".sprag/cgroups");
        stop(running);
        assert_eq!(places.lines().count(), 1);
        assert!(places.lines().all(|place| !Path::new(place).exists()), "cgroups are left in {places}");
    }
}

#[test]
fn in_a_cgroup_too_it_is_told_why_a_command_cannot_be_executed() {
    if !can_make_cgroups() {
        return;
    }
    let config = "[run]\ncgroup = true\n[queue.missing]\ncommand = [\"./nosuch\"]\nretry = { attempts = 1 }\n\
        [queue.odd]\ncommand = [\"./odd\", \"-x\"]\nretry = { attempts = 1 }\n\
        [queue.named]\ncommand = [\"sh\", \"-c\", \"tr '\\\\0' ' ' < /proc/$$/cmdline; \
        tr '\\\\0' '\\\\n' < /proc/$$/environ\"]\n";
    let pipeline = Pipeline::new(config);
    pipeline.write("odd", "#!/nosuch/interpreter\n");
    Command::new("chmod").args(["+x"]).arg(pipeline.path("odd")).status().unwrap();
    for queue in ["missing", "odd", "named"] {
        pipeline.sprag(&["add", queue, "--key", queue]);
    }
    pipeline.sprag(&["run", "--until-idle"]);
    assert!(pipeline.sprag(&["log", "1"]).out.contains("there is no such program"));
    let odd = pipeline.sprag(&["log", "2"]).out;
    assert!(odd.contains("./odd cannot be executed"), "{odd}");
    let named = pipeline.sprag(&["log", "3"]).out;
    assert!(named.starts_with("sh -c tr"), "{named}");
    assert!(named.contains("SPRAG_KEY=named") && !named.contains("cgroup"), "{named}");
}
