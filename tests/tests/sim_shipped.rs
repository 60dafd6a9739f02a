//! The program that ships holds no planted bug.
#![cfg(test)]

use sprag_core::Bug;

#[path = "../shipped.rs"]
mod shipped;

#[test]
fn the_shipped_program_holds_no_planted_bug() {
    let bytes = std::fs::read(shipped::sprag()).unwrap();
    let holds = |word: &str| memchr::memmem::find(&bytes, word.as_bytes()).is_some();
    assert!(holds("sprag_core"), "this is not the program, or it has no symbols");
    let names = Bug::ALL.iter().flat_map(|bug| [format!("{bug:?}"), bug.about().trim().to_owned()]);
    let found: Vec<String> = names.filter(|name| holds(name)).collect();
    assert_eq!(found, [""; 0]);
    // Of a bug that is alive the switch is there.
    assert!(!holds("planted5alive"), "the feature `planted` is in the program that ships");
}
