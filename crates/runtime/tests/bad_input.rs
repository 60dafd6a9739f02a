//! Bad input on the real file system: each row of the table in `docs/sources.md`.

#![allow(clippy::unwrap_used, reason = "only tests are here")]

use sprag_core::{Limits, Mono, QueueConfig, SourceFault, Wall, When};
use sprag_journal::RealFs;
use sprag_journal::fs::Fs as _;
use sprag_runtime::pipeline::{ConfigDigest, DiskLimits, Format, LOG_BYTES_MAX, Pipeline, QueueSpec, SourceSpec};
use sprag_runtime::scan::{
    self, Complaint, FOLDERS_DEPTH_MAX, FOLDERS_MAX, KEY_BYTES_MAX, LINKS_MAX, Look, PAYLOAD_BYTES_MAX,
    PAYLOAD_DEPTH_MAX, SETTLE_MS, SOURCE_BYTES_MAX, SOURCE_ITEMS_MAX, Seen, UNFINISHED_MS,
};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A source in a folder, and what was seen of it.
struct Source {
    dir: TempDir,
    spec: SourceSpec,
    seen: Seen,
    now: Mono,
}

impl Source {
    fn new(format: Format) -> Source {
        let key = (format != Format::Files).then(|| "/id".to_owned());
        let spec = SourceSpec { path: "source".into(), format, queue: "q".into(), key };
        let source = Source { dir: tempfile::tempdir().unwrap(), spec, seen: Seen::default(), now: Mono(1_000) };
        if format == Format::Files {
            fs::create_dir(source.path("")).unwrap();
        }
        source
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("source").join(name)
    }

    /// A file that is the source.
    fn file(&self) -> PathBuf {
        self.dir.path().join("source")
    }

    fn look(&mut self) -> Result<Look, Complaint> {
        self.seen.begin(self.now);
        let look = scan::look(&RealFs, &|_| Ok(()), self.dir.path(), &self.spec, &mut self.seen);
        self.seen.end(self.now);
        look
    }

    /// Keys that are offered, and what is complained of, if the content is this.
    fn read(&mut self, content: impl AsRef<[u8]>) -> (Vec<String>, Option<(SourceFault, String)>) {
        fs::write(self.file(), content).unwrap();
        told(self.look())
    }

    /// Two looks, as far apart as files need to come to rest.
    fn settle(&mut self) -> (Vec<String>, Option<(SourceFault, String)>) {
        let first = told(self.look());
        assert_eq!(first.0, [""; 0], "nothing is offered at first sight");
        self.now = self.now.after(SETTLE_MS);
        told(self.look())
    }
}

fn told(look: Result<Look, Complaint>) -> (Vec<String>, Option<(SourceFault, String)>) {
    let (items, complaint) = match look {
        Ok(look) => (look.items, look.complaint),
        Err(complaint) => (Vec::new(), Some(complaint)),
    };
    (items.into_iter().map(|item| item.key.unwrap()).collect(), complaint.map(|told| (told.fault, told.text)))
}

fn nothing_but(fault: SourceFault, text: &str) -> (Vec<String>, Option<(SourceFault, String)>) {
    (Vec::new(), Some((fault, text.into())))
}

fn some_but(keys: &[&str], fault: SourceFault, text: &str) -> (Vec<String>, Option<(SourceFault, String)>) {
    (keys.iter().map(|key| (*key).to_owned()).collect(), Some((fault, text.into())))
}

fn all(keys: &[&str]) -> (Vec<String>, Option<(SourceFault, String)>) {
    (keys.iter().map(|key| (*key).to_owned()).collect(), None)
}

fn make_pipe(path: &Path) {
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
}

#[test]
fn what_stands_in_the_place_of_a_file() {
    use SourceFault::{Missing, TooLarge, Unreadable};
    for format in [Format::JsonArray, Format::JsonLines] {
        let mut source = Source::new(format);
        let good = if format == Format::JsonArray { "[{\"id\":\"a\"}]" } else { "{\"id\":\"a\"}\n" };
        let path = source.file();
        assert_eq!(told(source.look()), nothing_but(Missing, "no such file"));
        assert_eq!(source.read(good), all(&["a"]));

        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(told(source.look()), nothing_but(Unreadable, "a folder, not a file"));
        fs::remove_dir(&path).unwrap();
        make_pipe(&path);
        assert_eq!(told(source.look()), nothing_but(Unreadable, "not a regular file"));
        fs::remove_file(&path).unwrap();

        let target = source.dir.path().join("target");
        symlink("target", &path).unwrap();
        let text = format!("a symbolic link to {}, which does not exist", target.display());
        assert_eq!(told(source.look()), nothing_but(Missing, &text));
        fs::write(&target, good.replace('a', "b")).unwrap();
        assert_eq!(told(source.look()), all(&["b"]), "a link is followed");
        fs::remove_file(&target).unwrap();
        make_pipe(&target);
        assert_eq!(told(source.look()), nothing_but(Unreadable, "not a regular file"));
        fs::remove_file(&target).unwrap();
        symlink("source", &target).unwrap();
        let round = format!("symbolic links that go round, or more than {LINKS_MAX}, one behind the other");
        assert_eq!(told(source.look()), nothing_but(Unreadable, &round));
        fs::remove_file(&path).unwrap();

        fs::File::create(&path).unwrap().set_len(SOURCE_BYTES_MAX + 1).unwrap();
        assert_eq!(told(source.look()), nothing_but(TooLarge, &format!("larger than {SOURCE_BYTES_MAX} bytes")));
        assert_eq!(source.read(good), all(&[]), "what was read before stands, and is not offered again");
    }
}

#[test]
fn as_many_links_as_are_followed_and_one_more() {
    let mut source = Source::new(Format::JsonArray);
    for link in 0..LINKS_MAX {
        let name = if link == 0 { "source".into() } else { format!("link{link}") };
        symlink(format!("link{}", link + 1), source.dir.path().join(name)).unwrap();
    }
    let last = source.dir.path().join(format!("link{LINKS_MAX}"));
    fs::write(&last, "[{\"id\":1}]").unwrap();
    assert_eq!(told(source.look()), all(&["1"]));
    fs::rename(&last, source.dir.path().join("file")).unwrap();
    symlink("file", &last).unwrap();
    assert_eq!(source.look().unwrap_err().fault, SourceFault::Unreadable);
}

#[test]
fn a_file_that_may_not_be_read_says_so() {
    let mut source = Source::new(Format::JsonArray);
    fs::write(source.file(), "[]").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o000);
    fs::set_permissions(source.file(), mode).unwrap();
    if fs::read(source.file()).is_ok() {
        eprintln!("skipped: this user may read everything");
        return;
    }
    assert_eq!(told(source.look()), nothing_but(SourceFault::Unreadable, "Permission denied (os error 13)"));
}

#[test]
fn what_an_array_may_hold() {
    use SourceFault::{ItemWithoutKey, Malformed, TooLarge};
    let read = |content: &[u8]| Source::new(Format::JsonArray).read(content);
    assert_eq!(read(b""), nothing_but(Malformed, "empty: not even `[]`"));
    assert_eq!(read(b"[]"), all(&[]));
    assert_eq!(read(b"\xef\xbb\xbf[{\"id\":1}]\r\n"), all(&["1"]), "a byte order mark is passed over");
    assert_eq!(read(b"[{\"id\":\"\xff\"}]"), nothing_but(Malformed, "not UTF-8 at byte 8"));
    assert_eq!(
        read(b"[{\"id\":1},"),
        nothing_but(Malformed, "not a whole JSON array: it ends where a value should stand, at line 1 column 10")
    );
    assert_eq!(read(b"{\"id\":1}"), nothing_but(Malformed, "not a whole JSON array: it is an object, not an array"));
    assert_eq!(
        read(br#"[{"id":1},{},{"id":null},{"id":[1]},{"id":true},{"id":"b"}]"#),
        some_but(&["1", "true", "b"], ItemWithoutKey, "item 1: no key at /id (and 2 more like this)")
    );
    assert_eq!(read(br#"[{"id":""}]"#), nothing_but(ItemWithoutKey, "item 0: an empty key"));
    assert_eq!(read(br#"[{"id":"a\u0000b"}]"#), nothing_but(ItemWithoutKey, "item 0: a key that holds a NUL"));
    assert_eq!(read(br#"[{"id":1,"n":2}, {"n":2,"id":1}, {"id":2}, {"id" : 2}]"#).0, ["1", "2"]);
    assert_eq!(
        read(br#"[{"id":1,"n":2}, {"id":1,"n":3}, {"id":2}, {"id" : 2}]"#),
        some_but(&["1", "2"], Malformed, "item 1: other content under the key of item 0, which counts")
    );
    let long = format!("[{{\"id\":\"{}\"}},{{\"id\":2}}]", "x".repeat(KEY_BYTES_MAX + 1));
    assert_eq!(
        read(long.as_bytes()),
        some_but(&["2"], ItemWithoutKey, &format!("item 0: a key longer than {KEY_BYTES_MAX} bytes"))
    );
    let long = format!("[{{\"id\":\"a\",\"b\":\"{}\"}},{{\"id\":2}}]", "x".repeat(PAYLOAD_BYTES_MAX));
    assert_eq!(
        read(long.as_bytes()),
        some_but(&["2"], TooLarge, &format!("item 0: longer than {PAYLOAD_BYTES_MAX} bytes"))
    );
    for (depth, fits) in [(PAYLOAD_DEPTH_MAX - 1, true), (PAYLOAD_DEPTH_MAX, false), (1_000_000, false)] {
        let depth = depth as usize;
        let deep = format!("[{{\"id\":\"a\",\"b\":{}{}}},{{\"id\":2}}]", "[".repeat(depth), "]".repeat(depth));
        let text = format!("item 0: nested deeper than {PAYLOAD_DEPTH_MAX}");
        let expected = if fits { all(&["a", "2"]) } else { some_but(&["2"], TooLarge, &text) };
        assert_eq!(read(deep.as_bytes()), expected, "{depth}");
    }
    let many = format!("[{}0]", "0,".repeat(SOURCE_ITEMS_MAX));
    assert_eq!(read(many.as_bytes()), nothing_but(TooLarge, &format!("more than {SOURCE_ITEMS_MAX} items")));
}

#[test]
fn an_array_that_is_reordered_or_loses_items_offers_nothing_twice() {
    let mut source = Source::new(Format::JsonArray);
    assert_eq!(source.read(r#"[{"id":1},{"id":2}]"#), all(&["1", "2"]));
    assert_eq!(source.read(r#"[{"id":2},{"id":3},{"id":1}]"#), all(&["3"]));
    assert_eq!(source.read("[]"), all(&[]));
    assert_eq!(
        source.read(r#"[{"id":1,"text":"changed"}]"#),
        all(&["1"]),
        "offered again: the key is known, and it is told"
    );
    assert_eq!(source.read(r#"[{"id":1,"text":"changed"}, {"id":2}]"#), all(&[]), "once for each change");
    // A complaint stands for as long as the file does.
    let expected = nothing_but(SourceFault::ItemWithoutKey, "item 0: no key at /id");
    assert_eq!(source.read("[{}]"), expected);
    assert_eq!(told(source.look()), expected);
    assert_eq!(source.read(r#"[{"id":1,"text":"changed"}]"#), all(&[]));
}

/// Digits beyond what a machine's numbers hold are kept, in keys and in payloads.
#[test]
fn numbers_and_doubled_members_are_taken_as_they_are_written() {
    let mut source = Source::new(Format::JsonArray);
    let (big, next) = ("123456789012345678901234567890", "123456789012345678901234567891");
    let item = |key: &str| format!("{{\"id\":{key},\"n\":0.1000000000000000055511151231257827}}");
    let text = format!("[{}, {}, {}]", item(big), item(next), item("1e400"));
    assert_eq!(source.read(text), all(&[big, next, "1e400"]), "two numbers are two keys");
    fs::write(source.file(), format!("[{}]", item("7"))).unwrap();
    assert_eq!(source.look().unwrap().items[0].payload.get(), item("7"));
    fs::write(source.file(), r#"[{"id":"first","id":"last","id\u0061":1}]"#).unwrap();
    let look = source.look().unwrap();
    assert_eq!(look.items[0].key.as_deref(), Some("last"), "of a doubled member the last counts");
    assert_eq!(look.items[0].payload.get(), r#"{"id":"first","id":"last","id\u0061":1}"#, "and nothing is taken out");
    for nonsense in ["[{\"id\":NaN}]", "[{\"id\":Infinity}]", "[{\"id\":-}]", "[{\"id\":01}]", "[{'id':1}]"] {
        let (keys, complaint) = source.read(nonsense);
        assert!(keys.is_empty() && complaint.unwrap().1.starts_with("not a whole JSON array"), "{nonsense}");
    }
    source.spec.key = Some("/a/1/b~1c~0".into());
    assert_eq!(source.read(r#"[{"a":[0,{"b/c~":"deep"}]}]"#), all(&["deep"]));
    assert_eq!(
        source.read(r#"[{"a":[0]}]"#),
        nothing_but(SourceFault::ItemWithoutKey, "item 0: no key at /a/1/b~1c~0")
    );
    source.spec.key = Some("/a/01".into());
    assert_eq!(source.read(r#"[{"a":[0,1]}]"#), nothing_but(SourceFault::ItemWithoutKey, "item 0: no key at /a/01"));
}

#[test]
fn what_lines_may_hold() {
    use SourceFault::{ItemWithoutKey, Malformed, TooLarge};
    let read = |content: &[u8]| Source::new(Format::JsonLines).read(content);
    assert_eq!(read(b""), all(&[]), "a file without lines is whole");
    assert_eq!(read(b"\xef\xbb\xbf{\"id\":1}\r\n\r\n  \n{\"id\":2}\n"), all(&["1", "2"]), "blank lines are no items");
    assert_eq!(
        read(b"{\"id\":1}\nnonsense\n{\"id\":\"\xff\"}\n{}\n[{\"id\":2}]\n{\"id\":3}\n"),
        some_but(
            &["1", "3"],
            Malformed,
            "line 2: not JSON: this is no JSON value; texts stand in double quotes, at column 2 (and 3 more like this)"
        )
    );
    assert_eq!(read(b"{\"id\":\"\xff\"}\n"), nothing_but(Malformed, "line 1: not UTF-8 at byte 7 of the line"));
    assert_eq!(
        read(b"{\"id\":1} {\"id\":2}\n").1.unwrap().1,
        "line 1: not JSON: something follows after the end of the value, at column 10"
    );
    assert_eq!(read(b"{\"id\":1}\n{\"id\":1,\"n\":2}\n"), all(&["1", "1"]), "a later line is a change");
    assert_eq!(read(b"7\n"), nothing_but(ItemWithoutKey, "line 1: no key at /id"));
    let long = format!("{{\"id\":\"a\",\"b\":\"{}\"}}\n{{\"id\":2}}\n", "x".repeat(PAYLOAD_BYTES_MAX));
    let text = format!("line 1: longer than {PAYLOAD_BYTES_MAX} bytes");
    assert_eq!(read(long.as_bytes()), some_but(&["2"], TooLarge, &text));
    let deep = format!("{}{}\n{{\"id\":2}}\n", "[".repeat(1_000_000), "]".repeat(1_000_000));
    let text = format!("line 1: nested deeper than {PAYLOAD_DEPTH_MAX}");
    assert_eq!(read(deep.as_bytes()), some_but(&["2"], TooLarge, &text));
    let text = format!("more than {SOURCE_ITEMS_MAX} lines: begin a new file");
    assert_eq!(read("\n".repeat(SOURCE_ITEMS_MAX + 1).as_bytes()), nothing_but(TooLarge, &text));
}

#[test]
fn lines_that_grow_are_replaced_or_stay_unfinished() {
    let mut source = Source::new(Format::JsonLines);
    assert_eq!(source.read("{\"id\":1}\n{\"id\""), all(&["1"]), "an unfinished line waits");
    source.now = source.now.after(UNFINISHED_MS - 1);
    assert_eq!(told(source.look()), all(&[]));
    source.now = source.now.after(1);
    let text = "line 2 has no newline at its end: it is read when it has one";
    assert_eq!(told(source.look()), nothing_but(SourceFault::Malformed, text));
    assert_eq!(source.read("{\"id\":1}\n{\"id\":2}"), all(&[]), "it grows: a new wait");
    assert_eq!(source.read("{\"id\":1}\n{\"id\":2}\n"), all(&["2"]));
    // What was taken is complained of for as long as it stands, whatever follows.
    let broken = "{\"id\":1}\nx\n";
    assert_eq!(
        source.read(broken).1.unwrap().1,
        "line 2: not JSON: this is no JSON value; texts stand in double quotes, at column 1"
    );
    let text = "line 2: not JSON: this is no JSON value; texts stand in double quotes, at column 1";
    assert_eq!(source.read(format!("{broken}{{\"id\":3}}\n")), some_but(&["3"], SourceFault::Malformed, text));
    // The same length, another beginning: read from its start.
    assert_eq!(source.read("{\"id\":4}\n{}\n{\"id\":3}\n").0, ["4"]);
    assert_eq!(source.read("{\"id\":5}\n"), all(&["5"]), "shorter than what was taken");
    assert_eq!(source.read("{\"id\":1}\n{\"id\":2}\n{\"id\":3}\n{\"id\":4}\n"), all(&[]), "all of them are known");
}

#[test]
fn what_a_folder_may_hold() {
    let mut source = Source::new(Format::Files);
    fs::create_dir_all(source.path("sub/empty")).unwrap();
    fs::create_dir(source.path(".git")).unwrap();
    for name in ["a.md", "sub/b c\n.md", "sub/empty.md", ".hidden", ".git/x", "a.md~", "b.tmp", "sub/.c"] {
        fs::write(source.path(name), if name == "sub/empty.md" { "" } else { "text" }).unwrap();
    }
    let first = source.look().unwrap();
    assert_eq!((first.items.len(), first.again_ms), (0, Some(SETTLE_MS)));
    source.now = source.now.after(SETTLE_MS);
    let look = source.look().unwrap();
    let items: Vec<_> = look.items.iter().map(|item| (item.key.as_deref().unwrap(), item.payload.get())).collect();
    let expected = [
        ("a.md", r#"{"path":"source/a.md","bytes":4}"#),
        ("sub/b c\n.md", r#"{"path":"source/sub/b c\n.md","bytes":4}"#),
        ("sub/empty.md", r#"{"path":"source/sub/empty.md","bytes":0}"#),
    ];
    assert_eq!((items.as_slice(), look.complaint, look.again_ms), (&expected[..], None, None));
    assert_eq!(told(source.look()), all(&[]));
    fs::write(source.path("a.md"), "another text").unwrap();
    fs::remove_file(source.path("sub/empty.md")).unwrap();
    assert_eq!(source.settle(), all(&[]), "a changed file is the same item, a removed one is none");
}

#[test]
fn what_is_no_file_in_a_folder_is_named() {
    use SourceFault::{Malformed, Missing, TooLarge, Unreadable};
    let mut source = Source::new(Format::Files);
    fs::write(source.path("good"), "").unwrap();
    symlink("good", source.path("link")).unwrap();
    let text = "link: neither a file nor a folder; symbolic links in here are not followed";
    assert_eq!(source.settle(), some_but(&["good"], Unreadable, text));
    fs::remove_file(source.path("link")).unwrap();
    make_pipe(&source.path("pipe"));
    assert_eq!(told(source.look()).1.unwrap().1, text.replace("link:", "pipe:"));
    fs::remove_file(source.path("pipe")).unwrap();
    let strange = source.dir.path().join("source").join(OsStr::from_bytes(b"a\xff"));
    fs::write(&strange, "").unwrap();
    assert_eq!(told(source.look()), nothing_but(Malformed, "a\u{fffd}: its name is not UTF-8: give it another"));
    fs::remove_file(&strange).unwrap();

    let deep = (0..=FOLDERS_DEPTH_MAX).map(|n| format!("d{n}")).collect::<Vec<_>>().join("/");
    fs::create_dir_all(source.path(&deep)).unwrap();
    fs::write(source.path(&deep).join("unseen"), "").unwrap();
    let text = format!("{deep}: deeper than {FOLDERS_DEPTH_MAX} folders");
    assert_eq!(source.settle(), nothing_but(TooLarge, &text));
    fs::remove_dir_all(source.path("d0")).unwrap();
    (0..=FOLDERS_MAX).for_each(|n| fs::create_dir(source.path(&n.to_string())).unwrap());
    let text = format!("more than {FOLDERS_MAX} folders: take some out");
    assert_eq!(told(source.look()), nothing_but(TooLarge, &text));

    fs::remove_dir_all(source.path("")).unwrap();
    assert_eq!(told(source.look()), nothing_but(Missing, "no such file"));
    fs::write(source.file(), "").unwrap();
    assert_eq!(told(source.look()), nothing_but(Unreadable, "not a folder"));
    fs::remove_file(source.file()).unwrap();
    fs::create_dir(source.dir.path().join("elsewhere")).unwrap();
    fs::write(source.dir.path().join("elsewhere/new"), "").unwrap();
    symlink("elsewhere", source.file()).unwrap();
    assert_eq!(source.settle(), all(&["new"]), "the folder itself may be a link");
}

#[test]
fn a_file_that_is_being_written_waits() {
    let mut source = Source::new(Format::Files);
    for text in ["a", "ab", "abc"] {
        fs::write(source.path("slow"), text).unwrap();
        assert_eq!(told(source.look()), all(&[]), "{text}");
        source.now = source.now.after(SETTLE_MS - 1);
    }
    assert_eq!(told(source.look()), all(&[]), "it has not rested for long enough");
    // The same length; only the file system knows that it changed.
    let changed = |path: PathBuf| RealFs.changed_ns(&path).unwrap();
    let before = changed(source.path("slow"));
    while changed(source.path("slow")) == before {
        fs::write(source.path("slow"), "xyz").unwrap();
    }
    source.now = source.now.after(1);
    assert_eq!(told(source.look()), all(&[]));
    source.now = source.now.after(SETTLE_MS);
    assert_eq!(told(source.look()), all(&["slow"]));
}

#[test]
fn a_drop_box_file_is_a_job_as_clients_write_it_with_its_queue() {
    let dir = tempfile::tempdir().unwrap();
    let policy = QueueConfig { name: "q".into(), ..QueueConfig::default() };
    let pipeline = Pipeline {
        dir: dir.path().into(),
        queues: vec![QueueSpec { policy, command: vec!["true".into()], output: None, log_bytes_max: LOG_BYTES_MAX }],
        sources: Vec::new(),
        services: Vec::new(),
        env_allow: Vec::new(),
        limits: Limits::default(),
        stop_timeout_ms: 1_000,
        disk: DiskLimits::default(),
        status_path: None,
        config_digest: ConfigDigest::default(),
    };
    let new = pipeline.state().inbox("new");
    fs::create_dir_all(&new).unwrap();
    fs::create_dir(pipeline.state().inbox("rejected")).unwrap();
    let look = |text: &str| {
        fs::write(new.join("file"), text).unwrap();
        let look = scan::look_into_inbox(&RealFs, &pipeline.state(), &pipeline, &mut Seen::default()).unwrap();
        assert_eq!(look.items.len() + usize::from(look.complaint.is_some()), 1, "{look:?}");
        assert_eq!(new.join("file").exists(), look.complaint.is_none(), "put aside when it is unfit");
        (look.items.into_iter().next(), look.complaint)
    };
    let item = look(r#"{"queue":"q","payload":[1, 2],"key":"k","priority":3,"at_ms":7}"#).0.unwrap();
    assert_eq!((item.payload.get(), item.key.as_deref(), item.priority), ("[1,2]", Some("k"), 3));
    assert_eq!((item.when, item.file.as_deref()), (When::At(Wall(7)), Some("file")));
    for (text, fault, why) in [
        (r#"{"payload":1}"#, SourceFault::Malformed, "`queue` is missing"),
        (r#"{"queue":"nobody","payload":1}"#, SourceFault::Malformed, "there is no queue `nobody`"),
        (r#"{"queue":"q","payload":1,"key":"a\u0000b"}"#, SourceFault::ItemWithoutKey, "a key that holds a NUL"),
        (r#"{"queue":"q","payload":1,"delay_ms":1,"at_ms":1}"#, SourceFault::Malformed, "not both"),
    ] {
        let complaint = look(text).1.unwrap();
        assert!(complaint.fault == fault && complaint.text.contains(why), "{text}: {complaint:?}");
    }
}
