//! Proofs for `Spool`: the source file of production, compiled against loom, in every interleaving.
//!
//! Beside the proof stands a spool with one bug: it must be caught.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "common/explore.rs"]
mod explore;
#[path = "../src/spool.rs"]
pub mod spool;
#[path = "common/sync.rs"]
#[allow(unused_imports, reason = "not every primitive needs all of them")]
mod sync;

use explore::Preemptions::Unbounded;
use explore::{explore, prove};
use loom::thread;
use spool::Spool;
use sync::{Arc, Mutex};

trait Carry: Send + Sync + 'static {
    fn push(&self, mark: u32, bytes: &[u8]) -> bool;
    fn take(&self) -> Vec<(u32, Vec<u8>)>;
}

impl Carry for Spool {
    fn push(&self, mark: u32, bytes: &[u8]) -> bool {
        self.push(mark, bytes)
    }

    fn take(&self) -> Vec<(u32, Vec<u8>)> {
        self.take()
    }
}

/// One thread pushes, another takes twice; the rest is taken when both are done.
fn what_is_pushed_is_taken_once_and_in_order<C: Carry>(make: impl Fn() -> C) {
    let spool = Arc::new(make());
    let (pusher, taker) = (Arc::clone(&spool), Arc::clone(&spool));
    let pusher = thread::spawn(move || [(1, 10), (1, 11), (2, 12)].map(|(mark, byte)| pusher.push(mark, &[byte])));
    let taker = thread::spawn(move || [taker.take(), taker.take()].concat());
    assert_eq!(pusher.join().unwrap(), [true; 3], "there was room for everything");
    let parts = [taker.join().unwrap(), spool.take()].concat();
    let flat: Vec<(u32, u8)> = parts.iter().flat_map(|(mark, part)| part.iter().map(|byte| (*mark, *byte))).collect();
    assert_eq!(flat, [(1, 10), (1, 11), (2, 12)], "what was pushed is not what came");
}

/// Looks, and empties it in a second step.
struct TwoSteps(Mutex<Vec<(u32, Vec<u8>)>>);

impl Carry for TwoSteps {
    fn push(&self, mark: u32, bytes: &[u8]) -> bool {
        self.0.lock().unwrap().push((mark, bytes.to_vec()));
        true
    }

    fn take(&self) -> Vec<(u32, Vec<u8>)> {
        let parts = self.0.lock().unwrap().clone();
        self.0.lock().unwrap().clear();
        parts
    }
}

#[test]
fn proof_what_is_pushed_is_taken_once_and_in_order() {
    prove(Unbounded, 60, || what_is_pushed_is_taken_once_and_in_order(|| Spool::new(3)));
}

#[test]
#[should_panic(expected = "what was pushed is not what came")]
fn a_take_in_two_steps_is_caught() {
    explore(Unbounded, || what_is_pushed_is_taken_once_and_in_order(|| TwoSteps(Mutex::new(Vec::new()))));
}

#[test]
fn proof_who_comes_too_late_is_given_a_beginning() {
    prove(Unbounded, 16, || {
        let spool = Arc::new(Spool::new(2));
        let taker = Arc::clone(&spool);
        let taker = thread::spawn(move || taker.take());
        let pushed = [1, 2, 3].map(|byte| spool.push(7, &[byte]));
        let parts = [taker.join().unwrap(), spool.take()].concat();
        let bytes: Vec<u8> = parts.into_iter().flat_map(|(_, part)| part).collect();
        let taken: Vec<u8> = (1..).zip(pushed).filter_map(|(byte, pushed)| pushed.then_some(byte)).collect();
        assert_eq!(bytes, taken, "what there was no room for is not what is missing");
        assert!(bytes.len() >= 2, "there was room for two");
    });
}
