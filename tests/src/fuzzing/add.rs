//! A job as a client or a file in the drop-box asks for it, of any bytes.
//!
//! **Invariant.** A job is taken as it was meant or refused with a reason; what is put into the drop-box is taken or put aside,
//! and never lost.

use sim::fs::{Image, SimFs};
use sprag_core::{Mono, When};
use sprag_journal::fs::Fs as _;
use sprag_runtime::pipeline::StateDir;
use sprag_runtime::request::Add;
use sprag_runtime::scan::{Seen, look_into_inbox};
use std::path::Path;

/// The bytes are what a client sends, and a file in the drop-box.
pub fn add(bytes: &[u8]) {
    let (asked, own) = (Add::parse(Some("q"), bytes), Add::parse(None, bytes));
    assert!(asked.is_err() || own.is_err(), "a job with a queue and without one");
    for add in [&asked, &own].into_iter().flatten() {
        let again = Add::parse(None, &written(add)).expect("what was taken can be asked for");
        assert_eq!(format!("{again:?}"), format!("{add:?}"), "what was taken is not what was asked for");
        assert!(!add.payload.get().contains('\n'), "a payload is one line");
    }
    for refused in [&asked, &own].into_iter().filter_map(|asked| asked.as_ref().err()) {
        assert!(!refused.text.is_empty() && !refused.text.contains('\n'), "a reason is one line: {:?}", refused.text);
    }
    dropped(bytes, own.is_ok_and(|add| add.queue == "q"));
}

/// The same job in other words.
fn written(add: &Add) -> Vec<u8> {
    let mut text = format!("{{\"payload\":{},\"priority\":{}", add.payload.get(), add.priority);
    text += &format!(",\"queue\":{}", serde_json::json!(add.queue));
    text += &add.key.as_ref().map_or_else(String::new, |key| format!(",\"key\":{}", serde_json::json!(key)));
    text += &match add.when {
        When::Now => "}".to_owned(),
        When::Delay(ms) => format!(",\"delay_ms\":{ms}}}"),
        When::At(at) => format!(",\"at_ms\":{}}}", at.0),
    };
    text.into_bytes()
}

/// A file of these bytes in the drop-box.
fn dropped(bytes: &[u8], is_job: bool) {
    let state = StateDir::of(Path::new("/p"));
    let parts = ["new", "rejected"].map(|part| state.inbox(part));
    let mut image = Image::default();
    let folders = parts.iter().flat_map(|part| part.ancestors()).map(Path::to_owned);
    image.dirs.extend(folders.filter(|folder| folder.parent().is_some()));
    image.files.insert(parts[0].join("job"), bytes.into());
    let fs = SimFs::boot(&image);
    let pipeline = sprag::parse_config(b"[queue.q]\ncommand = [\"true\"]\n").expect("a pipeline");
    let mut seen = Seen::default();
    seen.begin(Mono(0));
    let look = look_into_inbox(&fs, &state, &pipeline, &mut seen).expect("the drop-box can be read");
    assert_eq!(look.items.len(), usize::from(is_job), "{:?}", look.complaint);
    assert_eq!(look.complaint.is_none(), is_job, "taken or refused, and a reason if refused");
    let stays = fs.list(&parts[usize::from(!is_job)]).expect("the folder is there");
    assert_eq!(stays.len(), 1, "a file is lost");
}
