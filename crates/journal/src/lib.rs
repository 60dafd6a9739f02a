//! The journal: an append-only log in segments, its recovery, and snapshots that are a cache of it.
//!
//! Invariant: what was reported as committed is found again by every later recovery, in order and unchanged, or recovery
//! refuses and names the place. Everything goes through [`fs::Fs`], so the simulated disk can prove it.
//!
//! Records are opaque lines of JSON here. [`Framer`] gathers them into frames where decisions are made; [`Writer`] makes
//! frames durable where blocking is allowed; [`open`] recovers both. `docs/format.md` describes the files.

pub mod codec;
mod error;
mod framer;
pub mod fs;
pub mod image;
mod index;
mod inspect;
mod line;
mod lines;
mod names;
mod real_fs;
mod recover;
mod scan;
mod snapshot;
mod snapshot_writer;
mod writer;

pub use error::JournalError;
pub use framer::{FRAME_BYTES_CAP, Frame, Framer, Limits};
pub use index::{ENTRY_BYTES, Entry, Index, NAME_BYTES_MAX, NAMES_MAX, Names};
pub use inspect::{Report, SegmentReport, Stored, Torn, dump, read, stored, verify};
pub use line::{FORMAT_VERSION, Place, Position, QueueId, Sum};
pub use lines::{Lines, read_job};
pub use real_fs::{RealFile, RealFs, identity_of};
pub use recover::{Cut, Opened, Recalled, Replay, open, recall};
pub use scan::OnRecord;
pub use snapshot::{OnLine, Pruned, Snapshot, abandon, newest_before, prune, prune_hard};
pub use snapshot_writer::SnapshotWriter;
pub use writer::{Append, Writer};
