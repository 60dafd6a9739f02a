//! Work in pieces of very different length, spread over threads.
//!
//! **Invariant.** Each piece is done once, by whichever thread comes first, and told in the order of the pieces.

#![expect(
    clippy::disallowed_types,
    reason = "a piece takes a second or minutes: threads take the next one, and nothing of it ships"
)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Does so many pieces of work in so many threads. Each is told as soon as all before it are told.
///
/// # Panics
/// A piece does.
pub(crate) fn spread<T: Send>(jobs: usize, pieces: usize, work: impl Fn(usize) -> T + Sync, mut tell: impl FnMut(T)) {
    let (next, work) = (AtomicUsize::new(0), &work);
    std::thread::scope(|scope| {
        let (done, worked) = std::sync::mpsc::channel();
        for _ in 0..jobs {
            let (done, next) = (done.clone(), &next);
            scope.spawn(move || {
                let mut places = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
                let mut worked = places.by_ref().take_while(|place| *place < pieces).map(|place| (place, work(place)));
                worked.all(|worked| done.send(worked).is_ok())
            });
        }
        drop(done);
        let (mut told, mut waiting) = (0, BTreeMap::new());
        for (place, worked) in worked {
            waiting.insert(place, worked);
            while let Some(worked) = waiting.remove(&told) {
                tell(worked);
                told += 1;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_piece_is_done_once_and_told_in_order() {
        for (jobs, pieces) in [(1, 0), (1, 5), (3, 50), (8, 3)] {
            let mut told = Vec::new();
            let slow_first = |place: usize| {
                (0..pieces - place).for_each(|_| std::thread::yield_now());
                place
            };
            spread(jobs, pieces, slow_first, |place| told.push(place));
            assert_eq!(told, (0..pieces).collect::<Vec<_>>(), "{jobs} threads");
        }
    }
}
