//! Items: what producers offer and commands work on, each known by its source and its number.
//!
//! **Invariant.** An item is the same bytes wherever it stands, and nothing else is one: so whether something was torn, mixed
//! or made up can be told from the outside.

use crate::trace::name_of;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// An item: its source, and its number there.
pub type Id = (u8, u16);

/// Every so-many-th file of a folder lies deeper.
const DEEPER_EVERY: u16 = 4;

/// The item itself, as compact JSON.
pub fn text((source, item): Id) -> String {
    let text = "x".repeat(usize::from(item % 7) * 9);
    format!("{{\"id\":\"{}-{item}\",\"n\":{},\"text\":\"{text}\"}}", name_of(source), 1_000 + u32::from(item) * 37)
}

/// Where it lies in a folder of files: the key that it has there.
pub fn file_name((source, item): Id) -> String {
    let folder = if item % DEEPER_EVERY == 2 { "deeper/" } else { "" };
    format!("{folder}{}-{item}", name_of(source))
}

/// What a command reads of it when it is a file in a folder.
fn file_payload(id: Id) -> String {
    format!("{{\"path\":\"{}/{}\",\"bytes\":{}}}", name_of(id.0), file_name(id), text(id).len())
}

fn named(name: &str) -> Option<Id> {
    let (source, item) = name.split_once('-')?;
    let [letter @ b'a'..=b'z'] = source.as_bytes() else { return None };
    Some((letter - b'a', item.parse().ok()?))
}

/// The part of a payload that names the item.
#[derive(Deserialize)]
struct Claim<'a> {
    #[serde(borrow)]
    path: Option<Cow<'a, str>>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
}

/// What a payload says of itself, true or not; and what it would have to be then.
fn claimed(payload: &str) -> Option<(Id, String)> {
    let claim: Claim<'_> = serde_json::from_str(payload).ok()?;
    if let Some(path) = claim.path {
        let id = named(path.rsplit('/').next()?)?;
        return Some((id, file_payload(id)));
    }
    let id = named(&claim.id?)?;
    Some((id, text(id)))
}

/// The item whose payload this is, byte by byte.
pub fn of_payload(payload: &str) -> Option<Id> {
    let (id, wanted) = claimed(payload)?;
    (payload == wanted).then_some(id)
}

/// The item whose payload this is, however it is laid out.
pub fn of_value(payload: &RawValue) -> Option<Id> {
    let (id, wanted) = claimed(payload.get())?;
    let value = |text: &str| serde_json::from_str::<Value>(text).ok();
    (payload.get() == wanted || value(payload.get()) == value(&wanted)).then_some(id)
}

/// The items in a JSON array; none while it is not whole. An error if it is whole and holds something else.
pub fn of_array(bytes: &[u8]) -> Result<Vec<Id>, String> {
    let Ok(values) = serde_json::from_slice::<Vec<&RawValue>>(bytes) else { return Ok(Vec::new()) };
    values.into_iter().map(|value| of_payload(value.get()).ok_or_else(|| value.get().to_owned())).collect()
}

/// The items on the lines that have come to their newline and are whole. An error if one is whole and something else.
pub fn of_lines(bytes: &[u8]) -> Result<Vec<Id>, String> {
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let lines = bytes[..end].split(|byte| *byte == b'\n');
    let whole = lines.filter_map(|line| serde_json::from_slice::<&RawValue>(line).ok());
    whole.map(|value| of_payload(value.get()).ok_or_else(|| value.get().to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_found_again_and_nothing_else_is_one() {
        for id in [(0, 0), (1, 6), (25, 1000)] {
            assert_eq!(of_payload(&text(id)), Some(id));
            assert_eq!(of_payload(&file_payload(id)), Some(id));
            assert_eq!(of_payload(&text(id).replace("\"n\":", "\"n\":9")), None);
            assert_eq!(of_payload(&file_payload(id).replace("bytes\":", "bytes\":1")), None);
        }
        let raw = |text: String| RawValue::from_string(text).unwrap();
        assert_eq!(of_value(&raw(text((0, 5)).replace(',', " ,\n"))), Some((0, 5)));
        assert_eq!(of_value(&raw("{\"id\":\"a-5\"}".into())), None);
    }

    #[test]
    fn items_stand_in_what_is_whole() {
        let (one, two) = (text((0, 1)), text((0, 2)));
        assert_eq!(of_array(format!("[ {one} ,{two}]").as_bytes()), Ok(vec![(0, 1), (0, 2)]));
        assert_eq!(of_array(format!("[{one},{two}").as_bytes()), Ok(vec![]));
        assert!(of_array(b"[{\"id\":\"a-1\"}]").is_err());
        assert_eq!(of_lines(format!("{one}\n\nhalf\n{two}\n{one}").as_bytes()), Ok(vec![(0, 1), (0, 2)]));
        assert!(of_lines(b"7\n").is_err());
    }
}
