//! The pipeline as the user wrote it, checked: queues, sources, services, and where everything lies.
//!
//! **Invariant.** A value of these types is valid: names are unique, every source's queue exists, commands are not
//! empty, paths stand under or beside [`Pipeline::dir`]. The parser of `sprag.toml` makes them, nothing else changes
//! them.

use sprag_core::{Digest, KeyHash, Limits, QueueConfig, Slot};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// What a command writes to its log may take so many bytes on the disk, unless the user says otherwise.
pub const LOG_BYTES_MAX: u64 = 16 << 20;
/// No result is longer, in bytes.
pub const RESULT_BYTES_MAX: u64 = 256 << 20;

/// Attempts may go on for so long after a stop, unless `[run] stop_timeout` says otherwise.
const STOP_TIMEOUT_MS: u64 = 10_000;

/// Everything a run needs to know.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// The folder that holds `sprag.toml`. Commands run here; relative paths start here.
    pub dir: PathBuf,
    /// The queues, in the order of the file.
    pub queues: Vec<QueueSpec>,
    /// The sources, in the order of the file.
    pub sources: Vec<SourceSpec>,
    /// The services, in the order of the file.
    pub services: Vec<ServiceSpec>,
    /// Names of the environment variables that commands inherit beside the `SPRAG_*` ones.
    pub env_allow: Vec<String>,
    /// Bounds of the Machine.
    pub limits: Limits,
    /// Bounds of what is taken on the disk.
    pub disk: DiskLimits,
    /// Where a copy of the heartbeat is put, relative to [`Pipeline::dir`].
    pub status_path: Option<PathBuf>,
    /// Each command gets a cgroup of its own.
    pub cgroup: bool,
    /// On SIGTERM, attempts may go on for so long before they are ended.
    pub stop_timeout_ms: u64,
    /// What stood in `sprag.toml`: tells whether it was changed since.
    pub config_digest: ConfigDigest,
}

/// A digest of the bytes of `sprag.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ConfigDigest(u128);

impl ConfigDigest {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> ConfigDigest {
        ConfigDigest(first_16(&blake3::hash(bytes)))
    }
}

impl std::fmt::Display for ConfigDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// How much of the disk may be taken. What is not said depends on how large the disk is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskLimits {
    /// So many bytes stay free for what must be written; 0 for none.
    pub min_free_bytes: Option<u64>,
    /// Logs and results in the state folder have so many bytes at most; of more, the oldest go.
    pub keep_log_bytes: Option<u64>,
    /// They belong to so many attempts at most.
    pub keep_log_files: u64,
    /// They are removed when they are so old.
    pub keep_log_age_ms: u64,
    /// What ended jobs were asked to do takes so many bytes at most; of more, those that ended first are forgotten.
    pub keep_bytes: Option<u64>,
    /// Keys of forgotten jobs that are known; of more, those of the earliest jobs go, unless their item stands in a source.
    pub keep_keys: u64,
    /// They go when their job was forgotten so long ago, with the same exception.
    pub keep_key_age_ms: u64,
}

impl Default for DiskLimits {
    fn default() -> DiskLimits {
        DiskLimits {
            min_free_bytes: None,
            keep_log_bytes: None,
            keep_log_files: 100_000,
            keep_log_age_ms: 30 * 24 * 3_600_000,
            keep_bytes: None,
            keep_keys: 1_000_000,
            keep_key_age_ms: 365 * 24 * 3_600_000,
        }
    }
}

impl DiskLimits {
    /// The bytes that stay free on a disk of so many. Enough for what is running to end, and for a person to look around; on a
    /// small disk a part of it, or nothing could ever be added.
    pub fn min_free_bytes(&self, total_bytes: u64) -> u64 {
        self.min_free_bytes.unwrap_or((total_bytes / 16).min(64 << 20))
    }

    /// The bytes that ended jobs may take on a disk of so many.
    pub fn keep_bytes(&self, total_bytes: u64) -> u64 {
        self.keep_bytes.unwrap_or((total_bytes / 8).min(1 << 30))
    }

    /// The bytes that logs and results may take on a disk of so many.
    pub fn keep_log_bytes(&self, total_bytes: u64) -> u64 {
        self.keep_log_bytes.unwrap_or((total_bytes / 8).min(1 << 30))
    }
}

/// A queue: the Machine's policy, and what the Machine need not know.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueSpec {
    /// Name, places, timeout, retry.
    pub policy: QueueConfig,
    /// Program and arguments. No shell is involved unless the user names one.
    pub command: Vec<String>,
    /// Where a result goes, relative to [`Pipeline::dir`]; `{key}` and `{job}` are filled in.
    pub output: Option<String>,
    /// The log of an attempt keeps so many bytes: its beginning and its end.
    pub log_bytes_max: u64,
}

impl QueueSpec {
    /// Without results, and with the usual limit for logs.
    pub fn new(policy: QueueConfig, command: Vec<String>) -> QueueSpec {
        QueueSpec { policy, command, output: None, log_bytes_max: LOG_BYTES_MAX }
    }
}

/// A watched path that feeds a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceSpec {
    /// The path, relative to [`Pipeline::dir`].
    pub path: PathBuf,
    /// What is read there.
    pub format: Format,
    /// The queue its items go to.
    pub queue: String,
    /// JSON pointer (RFC 6901) to an item's key; without it the key is a hash of the item.
    pub key: Option<String>,
}

/// What a source holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON array; each element is an item.
    JsonArray,
    /// One JSON value on each line.
    JsonLines,
    /// A folder; each file in it is an item, and its path below the folder is its key.
    Files,
}

/// A process that sprag keeps beside the jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSpec {
    /// Its name in the configuration.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Whether it is started again.
    pub kind: ServiceKind,
    /// Its log keeps so many bytes: its beginning and its end.
    pub log_bytes_max: u64,
}

/// Whether a service is started again when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceKind {
    /// Runs once at each start of sprag.
    Oneshot,
    /// Is started again, with a capped backoff.
    Keep,
}

impl ServiceKind {
    /// As `sprag.toml` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            ServiceKind::Oneshot => "oneshot",
            ServiceKind::Keep => "keep",
        }
    }
}

/// Names inside the state folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDir(PathBuf);

impl Pipeline {
    /// With these queues, and all else as it is where nothing is said of it: nothing feeds them, and commands inherit nothing.
    pub fn new(dir: PathBuf, queues: Vec<QueueSpec>) -> Pipeline {
        Pipeline {
            dir,
            queues,
            sources: Vec::new(),
            services: Vec::new(),
            env_allow: Vec::new(),
            limits: Limits::default(),
            disk: DiskLimits::default(),
            status_path: None,
            stop_timeout_ms: STOP_TIMEOUT_MS,
            cgroup: false,
            config_digest: ConfigDigest::default(),
        }
    }

    /// The folder that holds all runtime files.
    pub fn state(&self) -> StateDir {
        StateDir::of(&self.dir)
    }

    /// Source number `source`: 0 is the drop-box, which has no description, then come those of the configuration.
    pub fn source(&self, source: u16) -> Option<&SourceSpec> {
        self.sources.get(usize::from(source.checked_sub(1)?))
    }

    /// The queue of that name.
    pub fn queue(&self, name: &str) -> Option<&QueueSpec> {
        self.queues.iter().find(|queue| &*queue.policy.name == name)
    }
}

impl StateDir {
    /// The state folder of the pipeline in `dir`.
    pub fn of(dir: &Path) -> StateDir {
        StateDir(dir.join(".sprag"))
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Journal segments and snapshots.
    pub fn journal(&self) -> PathBuf {
        self.0.join("journal")
    }

    /// The drop-box folders: files are written in `tmp`, renamed into `new`; what cannot be read goes to `rejected`.
    pub fn inbox(&self, part: &str) -> PathBuf {
        self.0.join("inbox").join(part)
    }

    /// The reusable files of the slots.
    pub fn slots(&self) -> PathBuf {
        self.0.join("slots")
    }

    /// The input of a slot's command, which carries the lock that proves death.
    pub fn slot_input(&self, slot: Slot) -> PathBuf {
        self.slots().join(format!("{}.in", slot.0))
    }

    /// What a slot's command writes to standard error, and to standard output unless that is the result.
    pub fn slot_log(&self, slot: Slot) -> PathBuf {
        self.slots().join(format!("{}.log", slot.0))
    }

    /// What a slot's command writes to standard output, when its queue has an `output`.
    pub fn slot_output(&self, slot: Slot) -> PathBuf {
        self.slots().join(format!("{}.out", slot.0))
    }

    /// The input of a service, with its lock.
    pub fn service_input(&self, name: &str) -> PathBuf {
        self.slots().join(format!("service-{}.in", file_name_of(name)))
    }

    /// What a service writes.
    pub fn service_log(&self, name: &str) -> PathBuf {
        self.slots().join(format!("service-{}.log", file_name_of(name)))
    }

    /// The folder of a job's kept output: one per thousand jobs.
    pub fn attempts(&self, job: u64) -> PathBuf {
        self.thousand(job / 1000)
    }

    /// The folder of all kept output.
    pub fn all_attempts(&self) -> PathBuf {
        self.0.join("attempts")
    }

    /// The folder of the output of a thousand jobs.
    pub fn thousand(&self, thousand: u64) -> PathBuf {
        self.all_attempts().join(thousand.to_string())
    }

    /// An attempt's kept log.
    pub fn attempt_log(&self, job: u64, attempt: u32) -> PathBuf {
        self.attempts(job).join(format!("{job}.{attempt}.log"))
    }

    /// An attempt's result.
    pub fn attempt_result(&self, job: u64, attempt: u32) -> PathBuf {
        self.attempts(job).join(format!("{job}.{attempt}.result"))
    }

    /// The heartbeat.
    pub fn status(&self) -> PathBuf {
        self.0.join("status.json")
    }

    /// Where the running sprag answers.
    pub fn socket(&self) -> PathBuf {
        self.0.join("sprag.sock")
    }

    /// Where cgroups were made, a folder on each line.
    pub fn cgroups(&self) -> PathBuf {
        self.0.join("cgroups")
    }

    /// Held by the one writer.
    pub fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }
}

/// The hash by which the Machine knows a key: over queue name and key text.
pub fn key_hash(queue: &str, key: &str) -> KeyHash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(queue.len() as u64).to_le_bytes());
    hasher.update(queue.as_bytes());
    hasher.update(key.as_bytes());
    KeyHash(first_16(&hasher.finalize()))
}

/// The digest by which the Machine tells payloads of one key apart.
pub fn payload_digest(payload: &[u8]) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "half of the hash is taken on purpose")]
    let low = first_16(&blake3::hash(payload)) as u64;
    low
}

/// The digest by which a result stands on record.
pub fn result_digest(result: &[u8]) -> Digest {
    Digest(first_16(&blake3::hash(result)))
}

/// The key of an item that has none of its own: a hash of its bytes, in hexadecimal.
pub fn item_key(item: &[u8]) -> String {
    format!("{:032x}", first_16(&blake3::hash(item)))
}

fn first_16(hash: &blake3::Hash) -> u128 {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_bytes()[..16]);
    u128::from_be_bytes(bytes)
}

/// Where the result of a job goes: the queue's `output` with `{key}` and `{job}` filled in, under `dir`.
pub fn destination(dir: &Path, output: &str, job: u64, key: Option<&str>) -> PathBuf {
    // No key's file name begins so: a job without one shares no file with a job whose key is that number.
    let key = key.map_or_else(|| format!("~{job}"), file_name_of);
    dir.join(output.replace("{key}", &key).replace("{job}", &job.to_string()))
}

/// A key as a file name: what is not a plain character is percent-encoded, so two keys never share a name and none
/// leaves its folder. A long one is cut and ends in its hash.
pub fn file_name_of(key: &str) -> String {
    const PLAIN_MAX: usize = 120;
    let mut name = String::new();
    for byte in key.bytes() {
        let plain = byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' || (byte == b'.' && !name.is_empty());
        if plain {
            name.push(char::from(byte));
        } else {
            let _ = write!(name, "%{byte:02X}");
        }
    }
    if name.len() > PLAIN_MAX {
        name.truncate(PLAIN_MAX - 33);
        let _ = write!(name, "~{}", item_key(key.as_bytes()));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_never_leaves_its_folder_and_never_shares_a_name() {
        assert_eq!(file_name_of("idea-7.b"), "idea-7.b");
        assert_eq!(file_name_of("../../etc/passwd"), "%2E.%2F..%2Fetc%2Fpasswd");
        assert_eq!(file_name_of(".."), "%2E.");
        assert_ne!(file_name_of("a/b"), file_name_of("a%2Fb"));
        let (long, longer) = ("x".repeat(300), "x".repeat(301));
        assert_ne!(file_name_of(&long), file_name_of(&longer));
        assert!(file_name_of(&long).len() <= 120);
    }

    #[test]
    fn the_same_key_in_two_queues_is_two_keys() {
        assert_ne!(key_hash("a", "bc"), key_hash("ab", "c"));
        assert_eq!(key_hash("a", "bc"), key_hash("a", "bc"));
    }

    #[test]
    fn a_destination_is_filled_in() {
        let dir = Path::new("/p");
        assert_eq!(destination(dir, "out/{key}.json", 7, Some("a/b")), Path::new("/p/out/a%2Fb.json"));
        assert_eq!(destination(dir, "out/{job}-{key}", 7, None), Path::new("/p/out/7-~7"));
    }
}
