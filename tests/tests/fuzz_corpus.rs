//! What the fuzzer is to hold, held for the corpus that is kept and for inputs that a generator invents.
//!
//! **Invariant.** Every file in `fuzz/corpus` is given to its target, and every target has a corpus.
#![cfg(test)]

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestError, TestRunner};
use sprag_tests::fuzzing::{TARGETS, Target};
use std::fs;
use std::path::Path;

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 5, "{}: {} inputs are no corpus", folder.display(), files.len());
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

#[test]
fn the_corpus_breaks_nothing() {
    for (name, target) in TARGETS {
        println!("{name}");
        corpus(name).iter().for_each(|input| target(input));
    }
}

/// Inputs of the corpus with some bytes changed, cut out, or taken from another one.
fn mutated(corpus: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let splice = (any::<Index>(), any::<Index>(), any::<Index>(), any::<Index>(), 0_usize..40);
    let pokes = prop::collection::vec((any::<Index>(), any::<u8>()), 0..4);
    (any::<Index>(), splice, pokes).prop_map(move |(which, (other, to, from, end, cut), pokes)| {
        let mut input = which.get(&corpus).clone();
        let donor = other.get(&corpus);
        if !input.is_empty() && !donor.is_empty() {
            let (to, from, end) = (to.index(input.len()), from.index(donor.len()), end.index(donor.len()));
            input.splice(to..(to + cut).min(input.len()), donor[from.min(end)..end].iter().copied());
        }
        for (at, byte) in &pokes {
            let at = at.index(input.len() + 1);
            if let Some(place) = input.get_mut(at) {
                *place = *byte;
            }
        }
        input
    })
}

fn fuzz(name: &str, target: Target) {
    // What is found goes into the corpus by hand: the panic prints it.
    let config = Config { cases: 300, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let outcome = runner.run(&mutated(corpus(name)), |input| {
        target(&input);
        Ok(())
    });
    outcome.unwrap_or_else(|error| {
        let TestError::Fail(why, input) = error else { panic!("target {name}: {error}") };
        panic!("target {name}: {why}\nfor {:?}", input.escape_ascii().to_string());
    });
}

#[test]
fn neighbours_of_the_corpus_break_nothing() {
    for (name, target) in TARGETS {
        fuzz(name, target);
    }
}
