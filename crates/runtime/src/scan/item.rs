//! From a JSON value to an item: its key, its payload as one line, and what makes either unfit.
//!
//! **Invariant.** The same value, however it is laid out, makes the same item. What is too long or too deep is refused
//! before anything depends on it.

use super::{Complaint, Item, KEY_BYTES_MAX, PAYLOAD_BYTES_MAX, PAYLOAD_DEPTH_MAX};
use crate::json;
use crate::pipeline::{SourceSpec, item_key, key_hash, payload_digest};
use serde_json::value::RawValue;
use sprag_core::{SourceFault, When};

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

/// The key of an item: a string as it is, a number or a truth value as JSON writes it.
fn key_at(payload: &RawValue, pointer: &str) -> Result<String, Complaint> {
    let without = |what: &str| Complaint::new(SourceFault::ItemWithoutKey, format!("{what} at {pointer}"));
    let value: serde_json::Value = serde_json::from_str(payload.get())
        .map_err(|error| without(&format!("no key ({})", json::words_on_a_line(&error))))?;
    match value.pointer(pointer) {
        Some(serde_json::Value::String(text)) => Ok(text.clone()),
        Some(value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_))) => Ok(value.to_string()),
        Some(serde_json::Value::Null | serde_json::Value::Array(_) | serde_json::Value::Object(_)) => {
            Err(without("a key that is neither text nor number"))
        }
        None => Err(without("no key")),
    }
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
