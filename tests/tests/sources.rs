//! Whatever versions a source goes through: each key of a version that was read whole is offered exactly once.
//!
//! Invariant: what the scanner offers is compared with a model that knows which items were written, and never parses.

#![expect(clippy::unwrap_used, reason = "a test ends where anything fails")]

use proptest::prelude::*;
use sim::fs::SimFs;
use sprag_core::Mono;
use sprag_journal::fs::{Fs, Open, write_all_at};
use sprag_runtime::pipeline::{Format, SourceSpec};
use sprag_runtime::scan::{self, SETTLE_MS, Seen};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const DIR: &str = "/p";

/// One version of a file: items by number, and how it is spoilt.
#[derive(Clone, Debug)]
struct Version {
    items: Vec<u8>,
    /// So much of it stands in the file, in thousandths.
    written: u32,
    /// Broken items among them, by place.
    broken: BTreeSet<usize>,
    /// Behind the former version instead of in its place.
    appended: bool,
}

fn version() -> impl Strategy<Value = Version> {
    let written = prop_oneof![3 => Just(1000u32), 1 => 0..1000u32];
    let broken = prop_oneof![3 => Just(BTreeSet::new()), 1 => prop::collection::btree_set(0..8usize, 0..3)];
    (prop::collection::vec(0..12u8, 0..8), written, broken, any::<bool>())
        .prop_map(|(items, written, broken, appended)| Version { items, written, broken, appended })
}

fn spec(format: Format, key: bool) -> SourceSpec {
    let key = key.then(|| "/id".to_owned());
    SourceSpec { path: "source".into(), format, queue: "q".into(), key }
}

fn write(fs: &SimFs, path: &Path, bytes: &[u8]) {
    write_all_at(&fs.open(path, Open::Replace).unwrap(), bytes, 0).unwrap();
}

fn part(text: &str, thousandths: u32) -> &str {
    &text[..text.len() * thousandths as usize / 1000]
}

/// Notes what a look offers: at most once in all.
fn offer(offered: &mut BTreeMap<String, u32>, look: scan::Look) -> Result<(), TestCaseError> {
    for item in look.items {
        let times = offered.entry(item.key.unwrap()).or_default();
        *times += 1;
        prop_assert_eq!(*times, 1, "offered again");
    }
    Ok(())
}

fn look(fs: &SimFs, spec: &SourceSpec, seen: &mut Seen) -> Result<scan::Look, scan::Complaint> {
    scan::look(fs, &|_| Ok(()), Path::new(DIR), spec, seen)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_array_is_offered_whole_and_once(versions in prop::collection::vec(version(), 1..8)) {
        let (fs, spec, mut seen) = (SimFs::with_dirs(&[DIR]), spec(Format::JsonArray, true), Seen::default());
        let (mut offered, mut expected) = (BTreeMap::new(), BTreeSet::new());
        for version in versions {
            let item = |(at, id): (usize, &u8)| match version.broken.contains(&at) {
                false => format!("{{ \"id\" : {id},\n\"text\": \"a ] in it\" }}"),
                true => "{\"text\": \"no key\"}".into(),
            };
            let items: Vec<String> = version.items.iter().enumerate().map(item).collect();
            let text = format!("[{}]\n", items.join(","));
            let written = part(&text, version.written);
            write(&fs, &Path::new(DIR).join("source"), written.as_bytes());
            // The newline is no part of the array.
            let whole = written.len() + 1 >= text.len();
            if whole {
                let sound = version.items.iter().enumerate().filter(|(at, _)| !version.broken.contains(at));
                expected.extend(sound.map(|(_, id)| id.to_string()));
            }
            let found = look(&fs, &spec, &mut seen);
            prop_assert_eq!(found.is_ok(), whole, "{:?}", found);
            let complains = found.as_ref().is_ok_and(|look| look.complaint.is_some());
            prop_assert_eq!(complains, whole && version.broken.iter().any(|at| *at < items.len()));
            offer(&mut offered, found.unwrap_or_default())?;
            prop_assert_eq!(offered.keys().cloned().collect::<BTreeSet<_>>(), expected.clone());
        }
    }

    #[test]
    fn lines_are_offered_once_however_the_file_grows(versions in prop::collection::vec(version(), 1..8)) {
        let (fs, spec, mut seen) = (SimFs::with_dirs(&[DIR]), spec(Format::JsonLines, true), Seen::default());
        let (mut offered, mut expected) = (BTreeMap::new(), BTreeSet::new());
        let mut file = String::new();
        for version in versions {
            if !version.appended {
                file.clear();
            }
            let line = |(at, id): (usize, &u8)| match version.broken.contains(&at) {
                false => format!("{{\"id\": {id}}}\n"),
                true => format!("{{\"id\": {id}\n"),
            };
            let lines: Vec<String> = version.items.iter().enumerate().map(line).collect();
            file += part(&lines.concat(), version.written);
            write(&fs, &Path::new(DIR).join("source"), file.as_bytes());
            // What the file says by now, line by line: the model asks the text, not a parser.
            let sound = |line: &&str| {
                let id = line.strip_prefix("{\"id\": ").and_then(|rest| rest.strip_suffix("}\n"));
                id.filter(|id| id.parse::<u8>().is_ok()).map(str::to_owned)
            };
            let lines: Vec<&str> = file.split_inclusive('\n').filter(|line| line.ends_with('\n')).collect();
            expected.extend(lines.iter().filter_map(sound));
            let found = look(&fs, &spec, &mut seen).unwrap();
            prop_assert_eq!(found.complaint.is_some(), lines.iter().any(|line| sound(line).is_none()), "{:?}", file);
            offer(&mut offered, found)?;
            prop_assert_eq!(offered.keys().cloned().collect::<BTreeSet<_>>(), expected.clone());
        }
    }

    #[test]
    fn a_file_in_a_folder_is_offered_once_and_only_at_rest(steps in prop::collection::vec((0..4u8, 0..4u64, 0..800u64), 1..20)) {
        let dirs = [DIR, "/p/source", "/p/source/sub"];
        let (fs, spec, mut seen) = (SimFs::with_dirs(&dirs), spec(Format::Files, false), Seen::default());
        let (mut offered, mut now) = (BTreeMap::new(), Mono(0));
        // For each name: its length, and when a look found it so first.
        let mut model: BTreeMap<String, (u64, Option<Mono>)> = BTreeMap::new();
        for (name, len, wait_ms) in steps {
            let key = format!("{}{name}", if name % 2 == 0 { "sub/" } else { "" });
            let path = Path::new("/p/source").join(&key);
            if model.get(&key).is_none_or(|(known, _)| *known != len) {
                write(&fs, &path, &vec![b'x'; len as usize]);
                model.insert(key, (len, None));
            }
            now = now.after(wait_ms);
            seen.begin(now);
            let found = look(&fs, &spec, &mut seen).unwrap();
            seen.end(now);
            let ripe = |since: Option<Mono>| since.is_some_and(|since| now.since_ms(since) >= SETTLE_MS);
            for item in &found.items {
                let key = item.key.as_deref().unwrap();
                let (len, since) = model[key];
                prop_assert!(ripe(since), "{} was offered before it was at rest", key);
                prop_assert_eq!(item.payload.get(), format!("{{\"path\":\"source/{key}\",\"bytes\":{len}}}"));
            }
            offer(&mut offered, found)?;
            for (key, (_, since)) in &mut model {
                prop_assert!(!ripe(*since) || offered.contains_key(key), "{} was not offered", key);
                since.get_or_insert(now);
            }
        }
    }
}
