//! What tells two states apart, as a number.
//!
//! **Invariant.** Two values get one number only if their `Debug` texts are the same with all moments seen from now and all
//! numbers of records and requests seen from the last one. What is left out of that has to be harmless: see [`Essence::new`].

use crate::chance::mix;
use sprag_core::{Now, RequestId, Seq};
use std::fmt::{self, Write};

/// A moment further back than this compares like any other such moment: it is over, and the attempt was not short.
const LONG_AGO_MS: i128 = 1_000;

/// Reads `Debug` texts piece by piece.
pub(crate) struct Essence {
    text: Vec<u8>,
    now: Now,
    last: Seq,
    request: RequestId,
    /// What the next number is seen from, once a parenthesis has opened behind this name.
    origin: Option<u64>,
    inside: bool,
    /// How deep in braces, and from which depth on nothing counts.
    depth: u32,
    hidden: Option<u32>,
}

impl Essence {
    /// Of a state at this moment, after this record and this request. The structure in a field named `health` is left out:
    /// it decides nothing.
    pub(crate) fn new(now: Now, last: Seq, request: RequestId) -> Essence {
        Essence {
            text: Vec::with_capacity(4096),
            now,
            last,
            request,
            origin: None,
            inside: false,
            depth: 0,
            hidden: None,
        }
    }

    /// Takes in a value.
    pub(crate) fn add(&mut self, value: &dyn fmt::Debug) {
        // Our own writer gives no error.
        let _ = write!(self, "{value:?};");
    }

    /// The number: too wide to be met twice by chance.
    pub(crate) fn number(&self) -> u128 {
        let (mut one, mut other) = (self.text.len() as u64, 1_u64);
        for chunk in self.text.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            let word = u64::from_le_bytes(word);
            (one, other) = (mix(one ^ word), mix(other.wrapping_add(word)));
        }
        u128::from(one) << 64 | u128::from(other)
    }

    /// A number behind the name of a moment or a record.
    fn seen_from(&mut self, origin: u64, number: u64) {
        if self.hidden.is_none() {
            let ahead = (i128::from(number) - i128::from(origin)).max(-LONG_AGO_MS);
            self.text.extend(ahead.to_le_bytes());
        }
    }
}

impl Write for Essence {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        match piece {
            "Mono" => (self.origin, self.inside) = (Some(self.now.mono.0), false),
            "Wall" => (self.origin, self.inside) = (Some(self.now.wall.0), false),
            "Seq" => (self.origin, self.inside) = (Some(self.last.0), false),
            "RequestId" => (self.origin, self.inside) = (Some(self.request.0), false),
            "(" => self.inside = true,
            " { " | "{" => self.depth += 1,
            " }" | "}" => {
                self.depth -= 1;
                // The brace that closes what hid itself.
                if self.hidden == Some(self.depth) {
                    self.hidden = None;
                }
            }
            "health" if self.hidden.is_none() => self.hidden = Some(self.depth),
            _ => {
                let seen_from = self.origin.take().filter(|_| self.inside);
                if let (Some(origin), Ok(number)) = (seen_from, piece.parse()) {
                    self.seen_from(origin, number);
                    return Ok(());
                }
            }
        }
        if self.hidden.is_none() {
            self.text.extend(piece.as_bytes());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sprag_core::{Mono, Wall};

    fn number(now: u64, value: &impl fmt::Debug) -> u128 {
        let mut essence = Essence::new(Now { mono: Mono(now), wall: Wall(now + 7) }, Seq(now / 10), RequestId(0));
        essence.add(value);
        essence.number()
    }

    #[derive(Debug)]
    #[expect(dead_code, reason = "read by its text")]
    struct State {
        at: Option<Mono>,
        health: Inner,
        due: Wall,
        seq: Seq,
        plain: u64,
    }

    #[derive(Debug)]
    #[expect(dead_code, reason = "read by its text")]
    struct Inner {
        deep: Deep,
        moved: Mono,
    }

    #[derive(Debug)]
    #[expect(dead_code, reason = "read by its text")]
    struct Deep {
        n: u64,
    }

    fn state(now: u64) -> State {
        let health = Inner { deep: Deep { n: 1 }, moved: Mono(now) };
        State { at: Some(Mono(now + 5)), health, due: Wall(now + 20), seq: Seq(now / 10 - 1), plain: 3 }
    }

    #[test]
    fn the_same_seen_from_another_moment_is_the_same() {
        assert_eq!(number(1_000, &state(1_000)), number(9_000, &state(9_000)));
        let health = Inner { deep: Deep { n: 9 }, moved: Mono(4) };
        assert_eq!(number(1_000, &state(1_000)), number(1_000, &State { health, ..state(1_000) }));
        let over = |ago: u64| State { at: Some(Mono(9_000 - ago)), ..state(9_000) };
        assert_eq!(number(9_000, &over(1_000)), number(9_000, &over(5_000)));
    }

    #[test]
    fn what_differs_differs() {
        let base = number(9_000, &state(9_000));
        let others = [
            State { at: Some(Mono(9_006)), ..state(9_000) },
            State { at: Some(Mono(9_005 - 900)), ..state(9_000) },
            State { at: None, ..state(9_000) },
            State { due: Wall(9_021), ..state(9_000) },
            State { seq: Seq(900), ..state(9_000) },
            State { plain: 4, ..state(9_000) },
        ];
        for other in &others {
            assert_ne!(base, number(9_000, other), "{other:?}");
        }
    }
}
