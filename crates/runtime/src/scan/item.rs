//! From a JSON value to an item: its key, its payload as one line, and what makes either unfit.
//!
//! **Invariant.** The same value, however it is laid out, makes the same item. What is too long or too deep is refused
//! before anything depends on it.

use super::{Complaint, Item, KEY_BYTES_MAX, PAYLOAD_BYTES_MAX, PAYLOAD_DEPTH_MAX};
use crate::json;
use crate::pipeline::{SourceSpec, item_key, key_hash, payload_digest};
use serde_json::value::RawValue;
use sprag_core::{SourceFault, When};
use std::borrow::Cow;
use std::collections::BTreeMap;

pub(super) fn item_of(raw: &RawValue, spec: &SourceSpec) -> Result<Item, Complaint> {
    let payload = one_line(raw)?;
    let key = match &spec.key {
        None => item_key(payload.get().as_bytes()),
        Some(pointer) => key_at(&payload, pointer)?,
    };
    check_key(&key)?;
    Ok(Item {
        hash: key_hash(&spec.queue, &key),
        digest: payload_digest(payload.get().as_bytes()),
        queue: spec.queue.clone(),
        key: Some(key),
        payload,
        priority: 0,
        when: When::Now,
        file: None,
    })
}

/// Whether a text can be a key: it is handed to commands in their environment.
///
/// # Errors
/// It is empty, longer than [`KEY_BYTES_MAX`], or holds a NUL.
pub fn check_key(key: &str) -> Result<(), Complaint> {
    let unfit = |text: &str| Err(Complaint::new(SourceFault::ItemWithoutKey, text));
    match key {
        "" => unfit("an empty key"),
        key if key.len() > KEY_BYTES_MAX => unfit(&format!("a key longer than {KEY_BYTES_MAX} bytes")),
        key if key.contains('\0') => unfit("a key that holds a NUL"),
        _ => Ok(()),
    }
}

/// The key of an item: a string as it is, a number or a truth value as the item writes it, digit by digit.
///
/// # Errors
/// There is nothing at the pointer, or what is there can be no key.
pub fn key_at(payload: &RawValue, pointer: &str) -> Result<String, Complaint> {
    let without = |what: &str| Complaint::new(SourceFault::ItemWithoutKey, format!("{what} at {pointer}"));
    let key = find(payload.get(), pointer).ok_or_else(|| without("no key"))?;
    match key.as_bytes().first() {
        Some(b'"') => {
            serde_json::from_str(key).map_err(|error| without(&format!("no key ({})", json::words_on_a_line(&error))))
        }
        Some(b'{' | b'[' | b'n') | None => Err(without("a key that is neither text nor number")),
        Some(_) => Ok(key.to_owned()),
    }
}

/// What stands at a JSON pointer (RFC 6901), as it is written there. Of equal names in one object the last counts.
fn find<'a>(mut json: &'a str, pointer: &str) -> Option<&'a str> {
    for token in pointer.split('/').skip(1) {
        let name = token.replace("~1", "/").replace("~0", "~");
        let found: &RawValue = if json.starts_with('[') {
            let plain = name == "0" || !name.starts_with(['0', '+']);
            let index = name.parse::<usize>().ok().filter(|_| plain)?;
            serde_json::from_str::<Vec<&RawValue>>(json).ok()?.get(index)?
        } else {
            serde_json::from_str::<BTreeMap<Cow<'_, str>, &RawValue>>(json).ok()?.get(name.as_str())?
        };
        json = found.get();
    }
    Some(json)
}

/// The same JSON without white space between its tokens: one line, and the same item however it is laid out.
pub fn one_line(raw: &RawValue) -> Result<Box<RawValue>, Complaint> {
    let too_large = |text: String| Complaint::new(SourceFault::TooLarge, text);
    let mut out = String::with_capacity(raw.get().len());
    let (mut in_string, mut escaped, mut depth) = (false, false, 0);
    for c in raw.get().chars() {
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else {
            match c {
                '"' => in_string = true,
                '[' | '{' => depth += 1,
                ']' | '}' => depth -= 1,
                ' ' | '\n' | '\r' | '\t' => continue,
                _ => {}
            }
        }
        if depth > PAYLOAD_DEPTH_MAX {
            return Err(too_large(format!("nested deeper than {PAYLOAD_DEPTH_MAX}")));
        }
        out.push(c);
    }
    if out.len() > PAYLOAD_BYTES_MAX {
        return Err(too_large(format!("longer than {PAYLOAD_BYTES_MAX} bytes")));
    }
    RawValue::from_string(out).map_err(|error| Complaint::new(SourceFault::Malformed, json::words(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(item: &str, pointer: &str) -> Result<String, String> {
        let item: &RawValue = serde_json::from_str(item).map_err(|error| error.to_string())?;
        key_at(item, pointer).map_err(|complaint| complaint.text)
    }

    #[test]
    fn a_key_is_what_the_item_writes() {
        let number = "123456789012345678901234567890";
        assert_eq!(key(&format!(r#"{{"id":{number}}}"#), "/id"), Ok(number.into()));
        assert_eq!(key(r#"{"x":1e999,"id":1.50}"#, "/id"), Ok("1.50".into()));
        assert_eq!(key(r#"{"a":[{"~/":"\u00fc"}]}"#, "/a/0/~0~1"), Ok("ü".into()));
        assert_eq!(key(r#"{"id":1,"id":2}"#, "/id"), Ok("2".into()));
        assert_eq!(key("7", ""), Ok("7".into()));
        assert_eq!(key("true", ""), Ok("true".into()));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for (item, pointer) in
            [("[1]", "/01"), ("[1]", "/+0"), ("[1]", "/-"), ("{}", "/id"), ("3", "/id"), ("[]", "/0")]
        {
            assert_eq!(key(item, pointer), Err(format!("no key at {pointer}")));
        }
        for item in ["{}", "[]", "null"] {
            assert_eq!(key(item, ""), Err("a key that is neither text nor number at ".into()));
        }
    }
}
