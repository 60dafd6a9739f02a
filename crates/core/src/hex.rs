//! Hashes as text: hexadecimal digits, for readers that know no number of 128 bits, as in the journal.
//!
//! **Invariant.** What was written is read back; anything but hexadecimal digits is refused.

use core::fmt;
use core::marker::PhantomData;
use serde::de::{Deserializer, Error, Visitor};
use serde::ser::Serializer;

/// A number that has a text of hexadecimal digits.
pub(crate) trait Hex: Sized + fmt::LowerHex {
    fn parse(digits: &str) -> Option<Self>;
}

impl Hex for u64 {
    fn parse(digits: &str) -> Option<u64> {
        u64::from_str_radix(digits, 16).ok()
    }
}

impl Hex for u128 {
    fn parse(digits: &str) -> Option<u128> {
        u128::from_str_radix(digits, 16).ok()
    }
}

pub(crate) fn serialize<T: Hex, S: Serializer>(number: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{number:x}"))
}

pub(crate) fn deserialize<'de, T: Hex, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_str(Digits(PhantomData))
}

struct Digits<T>(PhantomData<T>);

impl<T: Hex> Visitor<'_> for Digits<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hexadecimal digits")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        T::parse(text).ok_or_else(|| E::custom("no hexadecimal digits"))
    }
}
