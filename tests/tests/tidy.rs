//! What the compiler and clippy cannot see: who may depend on whom, how long things may grow, what must not be named.
//!
//! Invariant: each rule lists what breaks it, with file and line; a rule that looked at nothing fails.

#![expect(clippy::unwrap_used, reason = "a test ends where anything fails")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 80;
/// A proof reads best as one story.
const TEST_LINES_MAX: usize = 100;
const LINE_CHARS_MAX: usize = 130;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every Rust file of ours, as (path from the root, text).
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = ["crates", "sim", "tests", "benches"].map(|dir| root().join(dir)).into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(found.len() > 40, "only {} Rust files found", found.len());
    found.sort();
    found
}

fn assert_none(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

/// The names in one table of a manifest.
fn dependencies(manifest: &str, table: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(manifest)).unwrap();
    let lines = text.lines().skip_while(|line| *line != format!("[{table}]")).skip(1);
    let lines = lines.take_while(|line| !line.starts_with('['));
    lines.filter_map(|line| Some(line.split_once('=')?.0.trim().trim_end_matches(".workspace").to_owned())).collect()
}

#[test]
fn arrows_between_crates_run_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("crates/core", &["serde", "tracing"][..]),
        ("crates/handoff", &[]),
        ("crates/journal", &["sprag-core", "blake3", "memchr", "rustix", "serde", "serde_json"]),
    ]);
    for (package, allowed) in allowed {
        let actual = dependencies(&format!("{package}/Cargo.toml"), "dependencies");
        let broken: Vec<String> = actual.into_iter().filter(|name| !allowed.contains(&name.as_str())).collect();
        assert_none(&format!("{package} may depend on {allowed:?} alone"), &broken);
    }
    let runtime = dependencies("crates/runtime/Cargo.toml", "dependencies");
    assert!(runtime.contains(&"sprag-handoff".to_owned()), "the rule looks at the wrong table: {runtime:?}");
    for package in ["crates/runtime", "crates/sprag"] {
        for table in ["dependencies", "dev-dependencies"] {
            let actual = dependencies(&format!("{package}/Cargo.toml"), table);
            let banned = |name: &String| ["sim", "turmoil", "loom"].contains(&name.as_str());
            assert_none(
                &format!("{package} must not know the simulator"),
                &actual.into_iter().filter(banned).collect::<Vec<_>>(),
            );
        }
    }
    for package in ["crates/core", "crates/journal", "crates/runtime", "crates/sprag", "sim", "tests"] {
        for table in ["dependencies", "dev-dependencies"] {
            let actual = dependencies(&format!("{package}/Cargo.toml"), table);
            let loom: Vec<String> = actual.into_iter().filter(|name| name == "loom").collect();
            assert_none(&format!("{package}: loom belongs to handoff and the race proofs"), &loom);
        }
    }
}

#[test]
fn files_and_functions_stay_small() {
    let mut broken = Vec::new();
    for (name, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        if lines.len() > FILE_LINES_MAX {
            broken.push(format!("{name}: {} lines, {FILE_LINES_MAX} allowed", lines.len()));
        }
        for (at, line) in lines.iter().enumerate() {
            if line.chars().count() > LINE_CHARS_MAX {
                broken.push(format!("{name}:{}: {} characters", at + 1, line.chars().count()));
            }
            let len_max = if name.contains("tests/") { TEST_LINES_MAX } else { FUNCTION_LINES_MAX };
            if let Some(len) = function_lines(&lines[at..]).filter(|len| *len > len_max) {
                broken.push(format!("{name}:{}: a function of {len} lines, {len_max} allowed", at + 1));
            }
        }
    }
    assert_none("too long", &broken);
}

/// The length of the function that begins on the first line: rustfmt closes it at the same indent.
fn function_lines(lines: &[&str]) -> Option<usize> {
    let first = lines.first()?;
    let code = first.trim_start();
    let words = [
        "fn ",
        "pub fn ",
        "pub(crate) fn ",
        "pub(super) fn ",
        "async fn ",
        "pub async fn ",
        "const fn ",
        "pub const fn ",
    ];
    if !words.iter().any(|word| code.starts_with(word)) {
        return None;
    }
    let close = format!("{}}}", &first[..first.len() - code.len()]);
    lines.iter().position(|line| *line == close).map(|at| at + 1)
}

#[test]
fn every_module_says_what_it_is() {
    let without = |(name, text): (String, String)| (!text.starts_with("//!")).then_some(name);
    assert_none("files without a module doc", &sources().into_iter().filter_map(without).collect::<Vec<_>>());
}

#[test]
fn what_must_not_be_named_is_not() {
    // Spelt in parts, so that this file does not name them.
    let everywhere = [concat!("#[ign", "ore]"), concat!("unsa", "fe {"), concat!("static m", "ut ")];
    let outside_the_adapter = ["std::fs::", "std::thread", "std::process::", "tokio::", "Instant", "SystemTime"];
    let mut broken = Vec::new();
    for (name, text) in sources() {
        let decides = name.starts_with("crates/core/src")
            || (name.starts_with("crates/runtime/src") && !name.contains("/live/"))
            || (name.starts_with("crates/journal/src") && !name.ends_with("real_fs.rs"));
        for (at, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let mut words: Vec<&str> = everywhere.to_vec();
            words.extend(decides.then_some(outside_the_adapter).into_iter().flatten());
            broken.extend(
                words.iter().filter(|word| code.contains(**word)).map(|word| format!("{name}:{}: {word}", at + 1)),
            );
        }
        broken.extend(unbiased_selects(&name, &text));
    }
    assert_none("named where it must not be", &broken);
}

fn unbiased_selects(name: &str, text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let opens = |line: &str| line.contains(concat!("select", "! {"));
    let unbiased = |at: &usize| opens(lines[*at]) && lines.get(at + 1).is_none_or(|next| next.trim() != "biased;");
    (0..lines.len()).filter(unbiased).map(|at| format!("{name}:{}: a select without `biased;`", at + 1)).collect()
}

#[test]
fn the_repository_speaks_of_the_project_alone() {
    // Machine paths and registry hosts, spelt in parts.
    let banned = [concat!("/wo", "rk/"), concat!("static.crates", ".io"), concat!("index.crates", ".io")];
    let mut files: Vec<PathBuf> = vec!["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "Cargo.toml", ".ci/run"]
        .into_iter()
        .map(|name| root().join(name))
        .collect();
    files.extend(
        fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()),
    );
    let texts = files.into_iter().map(|path| (path.display().to_string(), fs::read_to_string(&path).unwrap()));
    let mut broken = Vec::new();
    for (name, text) in texts.chain(sources()) {
        broken.extend(banned.iter().filter(|word| text.contains(**word)).map(|word| format!("{name}: {word}")));
    }
    assert_none("not of the project", &broken);
}
