//! What is refused, at which place, and with which words.

use super::*;

/// A file in which line 1 is `[queue.q]`, line 2 its command, and `line` is the third.
fn in_queue(line: &str) -> String {
    format!("[queue.q]\ncommand = [\"true\"]\n{line}\n")
}

fn in_retry(words: &str) -> String {
    in_queue(&format!("retry = {{ {words} }}"))
}

fn in_output(output: &str) -> String {
    in_queue(&format!("output = {output:?}"))
}

fn in_source(lines: &str) -> String {
    in_queue(&format!("[[source]]\n{lines}"))
}

/// Each bad file, the whole message, and the help that goes with it.
#[track_caller]
fn refused(cases: &[(&str, &str, &str)]) {
    for (text, message, mend) in cases {
        let error = read(text).expect_err(text);
        assert_eq!((error.to_string().as_str(), error.how_to_mend().unwrap_or("")), (*message, *mend), "for\n{text}");
    }
}

#[test]
fn unknown_keys_and_words_name_the_nearest() {
    refused(&[
        (
            "[queue.q]\ncomand = [\"true\"]",
            "sprag.toml:2:1: unknown key `comand` in [queue.q], did you mean `command`?",
            "keys known here: command, concurrency, timeout, grace, retry, output, log_max",
        ),
        (
            &in_queue("log_max = 5"),
            "sprag.toml:3:11: `log_max` in [queue.q] is 5, it must be a size in quotes, such as \"64MiB\" or \"0B\"",
            "",
        ),
        (
            "[run]\nflight = \"63KiB\"\n[queue.q]\ncommand = [\"true\"]",
            "sprag.toml:2:10: `flight` in [run] is too small",
            "write \"64KiB\" or more, or \"0B\" for none",
        ),
        (
            &in_queue("log_max = \"63KiB\""),
            "sprag.toml:3:11: `log_max` in [queue.q] is too small",
            "write \"64KiB\" or more",
        ),
        (
            &in_queue("colour = 1"),
            "sprag.toml:3:1: unknown key `colour` in [queue.q]",
            "keys known here: command, concurrency, timeout, grace, retry, output, log_max",
        ),
        (
            "\n[queues.q]\ncommand = [\"true\"]",
            "sprag.toml:2:2: unknown key `queues`, did you mean `queue`?",
            "tables known here: run, status, queue, source, service",
        ),
        (
            &in_retry("attempt = 3"),
            "sprag.toml:3:11: unknown key `attempt` in `retry` of [queue.q], did you mean `attempts`?",
            "keys known here: attempts, backoff, factor, max, jitter, permanent_exit_codes",
        ),
        (
            "[run]\ncgroup = 1\n[queue.q]\ncommand = [\"true\"]",
            "sprag.toml:2:10: `cgroup` in [run] is 1, it must be `true` or `false`",
            "",
        ),
        (
            "[run]\nparallel = 3\n[queue.q]\ncommand = [\"true\"]",
            "sprag.toml:2:1: unknown key `parallel` in [run]",
            "keys known here: concurrency, stop_timeout, min_free, keep_age, keep_jobs, keep_bytes, keep_keys, \
             keep_key_age, keep_logs, keep_log_files, keep_log_age, flight, crashes, cgroup, env",
        ),
        (
            &in_source("path = \"a\"\nformat = \"json-aray\"\nqueue = \"q\""),
            "sprag.toml:5:10: `format` in [[source]] is unknown: \"json-aray\", did you mean `json-array`?",
            "it can be \"json-array\" or \"json-lines\" or \"files\"",
        ),
        (
            &in_source("path = \"a\"\nformat = \"json-array\"\nqueue = \"qq\""),
            "sprag.toml:6:9: `queue` in [[source]] is `qq`, but there is no [queue.qq]",
            "queues here: q",
        ),
        (
            "[queue.implement]\ncommand = [\"true\"]\n[[source]]\npath = \"a\"\nformat = \"json-array\"\n\
             queue = \"implemnt\"",
            "sprag.toml:6:9: `queue` in [[source]] is `implemnt`, but there is no [queue.implemnt], \
             did you mean `implement`?",
            "queues here: implement",
        ),
        (
            "[service.s]\ncommand = [\"true\"]\nkind = \"one-shot\"",
            "sprag.toml:3:8: `kind` in [service.s] is unknown: \"one-shot\", did you mean `oneshot`?",
            "it can be \"oneshot\" or \"keep\"",
        ),
        (
            &in_output("out/{kye}.json"),
            "sprag.toml:3:10: `output` in [queue.q] is \"out/{kye}.json\": `{kye}` is unknown, did you mean `{key}`?",
            "{key} is the job's key, {job} its number; nothing else is filled in",
        ),
    ]);
}

#[test]
fn what_is_missing_is_named() {
    refused(&[
        ("", "sprag.toml: it has no queue and no service", "add a table [queue.NAME] with a `command`"),
        ("[queue.q]", "sprag.toml:1:8: [queue.q] lacks `command`", "add command = [\"sh\", \"work.sh\"]"),
        (
            &in_source("format = \"json-array\"\nqueue = \"q\""),
            "sprag.toml:3:1: [[source]] lacks `path`",
            "add path = \"ideas_log.json\"",
        ),
        (
            "[service.s]\ncommand = [\"true\"]",
            "sprag.toml:1:10: [service.s] lacks `kind`",
            "add kind = \"oneshot\", or \"keep\" for one that is started again",
        ),
    ]);
}

#[test]
fn the_wrong_kind_of_value_is_named() {
    refused(&[
        (
            "[queue.q]\ncommand = \"sh work.sh\"",
            "sprag.toml:2:11: `command` in [queue.q] is the string \"sh work.sh\", \
             it must be a list: the program and its arguments",
            "write command = [\"sh\", \"-c\", \"sh work.sh\"] if a shell is to read it",
        ),
        (
            "[queue.q]\ncommand = [\"sh\", 3]",
            "sprag.toml:2:18: element 2 of `command` in [queue.q] is 3, it must be a string",
            "",
        ),
        ("[queue.q]\ncommand = []", "sprag.toml:2:11: `command` in [queue.q] names no program", ""),
        ("[queue.q]\ncommand = [\"\"]", "sprag.toml:2:11: `command` in [queue.q] names no program", ""),
        ("[queue.q]\ncommand = [\"a\\u0000\"]", "sprag.toml:2:12: element 1 of `command` in [queue.q] holds a NUL", ""),
        ("queue = 3", "sprag.toml:1:9: `queue` is 3, it must be a table, written [queue.NAME]", ""),
        (
            "[queue]\ncommand = [\"true\"]",
            "sprag.toml:2:11: `command` in [queue] is a list, it must be a table, written [queue.NAME]",
            "",
        ),
        (
            "[source]\npath = \"a\"",
            "sprag.toml:1:1: `source` is a table, it must be a list of tables, each written [[source]]",
            "",
        ),
        (
            &in_queue("timeout = 10"),
            "sprag.toml:3:11: `timeout` in [queue.q] is 10, \
             it must be a duration in quotes, such as \"10s\" or \"1h30m\"",
            "write \"10s\" for seconds",
        ),
        (
            &in_queue("timeout = \"ten\""),
            "sprag.toml:3:11: `timeout` in [queue.q] is \"ten\", \
             which is no duration: a whole number must stand before `ten`",
            "",
        ),
        (
            &in_retry("factor = \"2\""),
            "sprag.toml:3:20: `factor` in `retry` of [queue.q] is the string \"2\", it must be a number",
            "",
        ),
        (
            &in_queue("concurrency = 1.5"),
            "sprag.toml:3:15: `concurrency` in [queue.q] is 1.5, it must be a whole number",
            "",
        ),
        (
            "[run]\nenv = \"PATH\"\n[queue.q]\ncommand = [\"true\"]",
            "sprag.toml:2:7: `env` in [run] is the string \"PATH\", it must be a list of strings",
            "",
        ),
    ]);
}

#[test]
fn limits_are_checked() {
    refused(&[
        (
            &in_queue("concurrency = 0"),
            "sprag.toml:3:15: `concurrency` in [queue.q] is 0, it must be from 1 to 1000",
            "",
        ),
        (
            &in_queue("concurrency = 0x3e9"),
            "sprag.toml:3:15: `concurrency` in [queue.q] is 0x3e9, it must be from 1 to 1000",
            "",
        ),
        (
            &in_queue("concurrency = -1"),
            "sprag.toml:3:15: `concurrency` in [queue.q] is -1, it must be from 1 to 1000",
            "",
        ),
        (
            &in_queue("timeout = \"0s\""),
            "sprag.toml:3:11: `timeout` in [queue.q] is zero: every attempt would end at once",
            "leave `timeout` out for none",
        ),
        (
            &in_queue("grace = \"401d\""),
            "sprag.toml:3:9: `grace` in [queue.q] is the string \"401d\", it must be 400 days at most",
            "",
        ),
        (
            &in_retry("attempts = 0"),
            "sprag.toml:3:22: `attempts` in `retry` of [queue.q] is 0, it must be at least 1",
            "",
        ),
        (
            &in_retry("factor = 0.5"),
            "sprag.toml:3:20: `factor` in `retry` of [queue.q] is 0.5, it must be from 1 to 1000",
            "",
        ),
        (
            &in_retry("factor = nan"),
            "sprag.toml:3:20: `factor` in `retry` of [queue.q] is nan, it must be from 1 to 1000",
            "",
        ),
        (
            &in_retry("jitter = 1.01"),
            "sprag.toml:3:20: `jitter` in `retry` of [queue.q] is 1.01, it must be from 0 to 1",
            "",
        ),
        (
            &in_retry("permanent_exit_codes = [64, 256]"),
            "sprag.toml:3:39: element 2 of `permanent_exit_codes` in `retry` of [queue.q] is 256, \
             it must be from 0 to 255",
            "",
        ),
        (
            &in_retry("backoff = \"2s\", max = \"1s\""),
            "sprag.toml:3:33: `max` in `retry` of [queue.q] is shorter than `backoff`",
            "`max` caps the wait between attempts, which begins at `backoff`",
        ),
        (
            "[run]\nenv = [\"PATH\", \"SPRAG_JOB\"]\n[queue.q]\ncommand = [\"true\"]",
            "sprag.toml:2:16: `env` in [run] holds `SPRAG_JOB`, but sprag sets the SPRAG_ variables itself",
            "take it out of the list",
        ),
        (
            "[run]\nenv = [\"A=1\"]\n[queue.q]\ncommand = [\"true\"]",
            "sprag.toml:2:8: `env` in [run] holds \"A=1\", which is no name of a variable",
            "",
        ),
        (
            "[queue.\"a b\"]\ncommand = [\"true\"]",
            "sprag.toml:1:8: \"a b\" is no name for a queue",
            "use 1 to 64 letters, digits, `-` and `_`",
        ),
    ]);
}

#[test]
fn outputs_and_pointers_are_checked() {
    let known = "{key} is the job's key, {job} its number; nothing else is filled in";
    let below = "name a path below the folder, without a leading `/` and `..`";
    let source = "path = \"a\"\nformat = \"json-array\"\nqueue = \"q\"\n";
    refused(&[
        (
            &in_output("out.json"),
            "sprag.toml:3:10: `output` in [queue.q] is \"out.json\": every job would write to the same file",
            "put {key} or {job} into it",
        ),
        (
            &in_output("/out/{key}"),
            "sprag.toml:3:10: `output` in [queue.q] is \"/out/{key}\": it leaves the folder",
            below,
        ),
        (
            &in_output("a/../../{key}"),
            "sprag.toml:3:10: `output` in [queue.q] is \"a/../../{key}\": it leaves the folder",
            below,
        ),
        (
            &in_output("./.sprag/{key}"),
            "sprag.toml:3:10: `output` in [queue.q] is \"./.sprag/{key}\": the folder .sprag is sprag's own",
            "name another folder",
        ),
        (
            &in_output("{key}/"),
            "sprag.toml:3:10: `output` in [queue.q] is \"{key}/\": it names a folder, not a file",
            "write for example \"results/{key}.json\"",
        ),
        (&in_output("{key"), "sprag.toml:3:10: `output` in [queue.q] is \"{key\": the `{` has no partner", known),
        (&in_output("key}"), "sprag.toml:3:10: `output` in [queue.q] is \"key}\": the `}` has no partner", known),
        (&in_output("{a{key}"), "sprag.toml:3:10: `output` in [queue.q] is \"{a{key}\": the `{` has no partner", known),
        (
            "[queue.a]\ncommand = [\"a\"]\noutput = \"{key}\"\n[queue.b]\ncommand = [\"b\"]\noutput = \".//{key}\"",
            "sprag.toml:6:10: `output` in [queue.b] is the same as in [queue.a]",
            "the results of two queues would replace each other: give each its own folder",
        ),
        (
            &in_source(&format!("{source}key = \"id\"")),
            "sprag.toml:7:7: `key` in [[source]] is \"id\", which is no JSON pointer: it must begin with `/`",
            "write key = \"/id\"",
        ),
        (
            &in_source("path = \"a\"\nformat = \"files\"\nqueue = \"q\"\nkey = \"/id\""),
            "sprag.toml:7:7: `key` in [[source]] does not go with format = \"files\": a file's key is its path",
            "take it out",
        ),
        (
            &in_source(&format!("{source}key = \"/a~2\"")),
            "sprag.toml:7:7: `key` in [[source]] is \"/a~2\", which is no JSON pointer: after `~` must come 0 or 1",
            "write ~0 for `~` and ~1 for `/` inside a name",
        ),
        (
            &in_source(&format!("{source}[[source]]\n{source}")),
            "sprag.toml:7:1: `a` feeds the queue `q` twice",
            "take one of the two [[source]] tables out",
        ),
        (
            &in_source(&format!("{source}[[source]]\n{}", source.replace("\"a\"", "\"./a\""))),
            "sprag.toml:7:1: `./a` feeds the queue `q` twice",
            "take one of the two [[source]] tables out",
        ),
        (
            &in_source("path = \"\"\nformat = \"json-array\"\nqueue = \"q\""),
            "sprag.toml:4:8: `path` in [[source]] is empty",
            "",
        ),
    ]);
}

#[test]
fn what_is_not_toml_is_refused_at_its_place() {
    // The words after the colon are the TOML parser's.
    for (text, place) in [
        ("[queue.q]\ncommand = [\"true\"\n", "sprag.toml:2:18: it is not TOML: "),
        ("[queue.q]\ncommand = [\"a\"]\ncommand = [\"b\"]", "sprag.toml:3:1: it is not TOML: "),
        ("[queue.q]\ncommand = [\"a\"]\n[queue.q]\n", "sprag.toml:3:8: it is not TOML: "),
        ("# \u{fc}\n[queue.q]\ngrace = = 3", "sprag.toml:3:9: it is not TOML: "),
    ] {
        let error = read(text).expect_err(text).to_string();
        assert!(error.starts_with(place) && !error.contains('\n'), "{error}");
        assert!(error.len() > place.len(), "{error}");
    }
    let error = parse("/p".into(), Path::new("sprag.toml"), b"[queue.q]\n# \xc3\xbc\xff\n").unwrap_err();
    assert_eq!(error.to_string(), "sprag.toml:2:4: it is not UTF-8 here");
}

#[test]
fn a_folder_without_the_file_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let error = load(dir).unwrap_err();
    assert_eq!(error.to_string(), format!("{}/sprag.toml: there is no such file", dir.display()));
    let error = load(&dir.join("none")).unwrap_err();
    assert_eq!(error.to_string(), format!("{}/none: there is no such folder", dir.display()));
    std::fs::write(dir.join("sprag.toml"), vec![b'#'; BYTES_MAX + 1]).unwrap();
    let error = load(dir).unwrap_err();
    assert_eq!(error.to_string(), format!("{}/sprag.toml: it has 1048577 bytes, more than 1048576", dir.display()));
    std::fs::write(dir.join("sprag.toml"), GOOD).unwrap();
    assert_eq!(load(dir).unwrap().dir, dir.canonicalize().unwrap());
}

#[test]
fn more_tables_than_the_limit_are_refused() {
    let queues = |count: usize| (0..count).map(|n| format!("[queue.q{n}]\ncommand = [\"true\"]\n")).collect::<String>();
    assert_eq!(read(&queues(TABLES_MAX)).unwrap().queues.len(), TABLES_MAX);
    refused(&[(&queues(TABLES_MAX + 1), "sprag.toml:1:2: `queue` holds 1001 tables, more than 1000", "")]);
}

#[test]
fn a_queue_whose_results_feed_itself_is_refused() {
    let queues = "[queue.a]\ncommand = [\"x\"]\noutput = \"drafts/out/{key}\"\n[queue.b]\ncommand = [\"x\"]\n";
    let text = |path: &str, queue: &str| {
        format!("{queues}[[source]]\npath = \"{path}\"\nformat = \"files\"\nqueue = \"{queue}\"\n")
    };
    let what = "sprag.toml:6:1: `drafts` feeds the queue `a`, whose own results lie in it (drafts/out/{key}): a loop";
    refused(&[(&text("drafts", "a"), what, "let the `output` of the queue lie in another folder")]);
    let what =
        "sprag.toml:6:1: `./drafts/x/..` feeds the queue `a`, whose own results lie in it (drafts/out/{key}): a loop";
    refused(&[(&text("./drafts/x/..", "a"), what, "let the `output` of the queue lie in another folder")]);
    let good = [("drafts", "b"), ("draft", "a"), ("drafts/other", "a")];
    good.iter().for_each(|(folder, queue)| drop(read(&text(folder, queue)).unwrap()));
}
