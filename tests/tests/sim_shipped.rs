//! The program that ships holds no planted bug: it is built alone, so that no other package's features are in it.
#![cfg(test)]

use sprag_core::Bug;
use std::path::Path;
use std::process::Command;

#[test]
fn the_shipped_program_holds_no_planted_bug() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    // Kept from run to run, so that only what has changed is built again.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shipped");
    // With symbols, which name the functions that are there; without the rest, which names what there might be.
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--locked", "--offline", "--quiet", "-p", "sprag"]).current_dir(root);
    let built = cargo.env("CARGO_TARGET_DIR", &target).env("CARGO_PROFILE_DEV_DEBUG", "0").output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let bytes = std::fs::read(target.join("debug/sprag")).unwrap();
    let holds = |word: &str| memchr::memmem::find(&bytes, word.as_bytes()).is_some();
    assert!(holds("sprag_core"), "this is not the program, or it has no symbols");
    let names = Bug::ALL.iter().flat_map(|bug| [format!("{bug:?}"), bug.about().trim().to_owned()]);
    let found: Vec<String> = names.filter(|name| holds(name)).collect();
    assert_eq!(found, [""; 0]);
    // Of a bug that is alive the switch is there.
    assert!(!holds("planted5alive"), "the feature `planted` is in the program that ships");
}
