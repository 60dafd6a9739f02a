//! The program that ships holds no planted bug: it is built alone, so that no other package's features are in it.
#![cfg(test)]

use sprag_core::Bug;
use std::process::Command;

#[test]
fn the_shipped_program_holds_no_planted_bug() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let target = tempfile::tempdir().unwrap();
    // With its symbols, which hold the names of functions that are there.
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--locked", "--offline", "--quiet", "-p", "sprag"]).current_dir(root);
    let built = cargo.env("CARGO_TARGET_DIR", target.path()).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let bytes = std::fs::read(target.path().join("debug/sprag")).unwrap();
    let holds = |word: &str| bytes.windows(word.len()).any(|window| window == word.as_bytes());
    assert!(holds("sprag_core"), "this is not the program, or it has no symbols");
    let words = Bug::ALL.iter().map(|bug| bug.about().trim());
    let found: Vec<&str> = words.filter(|word| holds(word)).collect();
    assert_eq!(found, [""; 0]);
    // Of a bug that is alive the switch is there.
    assert!(!holds("planted5alive"), "the feature `planted` is in the program that ships");
}
