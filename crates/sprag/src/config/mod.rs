//! `sprag.toml`: what the user wrote becomes a [`Pipeline`], or an error that names the place.
//!
//! **Invariant.** Strict: a key, placeholder or word that is not known is an error, never passed over; every error says
//! in which file, line and column, what was found and what was meant. A [`Pipeline`] made here keeps the promises of
//! its own documentation. Nothing else reads `sprag.toml`.

mod document;
mod duration;
mod queue;
mod size;
#[cfg(test)]
mod tests;

pub(crate) use document::{ConfigError, did_you_mean};
pub(crate) use duration::{parse_delay_ms as delay_ms, parse_ms as duration_ms};

use document::{Document, Entry, Named, Section};
use sprag_runtime::flight::BYTES_MIN as FLIGHT_BYTES_MIN;
use sprag_runtime::pipeline::{
    ConfigDigest, Format, LOG_BYTES_MAX, Pipeline, QueueSpec, ServiceKind, ServiceSpec, SourceSpec,
};
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

/// The name of the configuration file.
pub(crate) const FILE: &str = "sprag.toml";
/// A longer file is refused.
const BYTES_MAX: usize = 1 << 20;
/// More queues, sources or services of one kind are refused.
const TABLES_MAX: usize = 1_000;
/// More attempts at once are refused, per queue and in total.
const CONCURRENCY_MAX: u64 = 1_000;
/// More deaths of sprag in a row than this cannot be allowed a job.
const CRASHES_MAX: u64 = 10_000;
/// A smaller `log_max` is refused, in bytes.
const LOG_BYTES_MIN: u64 = 64 << 10;
/// What can stand in `[run]`.
const RUN_KEYS: [&str; 15] = [
    "concurrency",
    "stop_timeout",
    "min_free",
    "keep_age",
    "keep_jobs",
    "keep_bytes",
    "keep_keys",
    "keep_key_age",
    "keep_logs",
    "keep_log_files",
    "keep_log_age",
    "flight",
    "crashes",
    "cgroup",
    "env",
];
/// What commands inherit unless `[run] env` says otherwise.
const ENV_DEFAULT: [&str; 7] = ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER"];

/// Reads the configuration of the pipeline in `dir`.
pub(crate) fn load(dir: &Path) -> Result<Pipeline, ConfigError> {
    let path = if dir == Path::new(".") { FILE.into() } else { dir.join(FILE) };
    let dir = match dir.canonicalize() {
        Ok(canonical) if canonical.is_dir() => canonical,
        Ok(_) => return Err(ConfigError::file(dir, "it is not a folder")),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(ConfigError::file(dir, "there is no such folder"));
        }
        Err(error) => return Err(ConfigError::file(dir, error)),
    };
    let bytes = std::fs::read(&path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => ConfigError::file(&path, "there is no such file").mend(format!(
            "`sprag init` writes a {FILE} to begin with; or name the folder that holds one: sprag -C DIR ..."
        )),
        _ => ConfigError::file(&path, error),
    })?;
    if bytes.len() > BYTES_MAX {
        return Err(ConfigError::file(&path, format!("it has {} bytes, more than {BYTES_MAX}", bytes.len())));
    }
    parse(dir, &path, &bytes)
}

/// What a sprag that runs is to be told apart by: the configuration as it stands now.
pub(crate) fn digest(dir: &Path) -> Option<String> {
    std::fs::read(dir.join(FILE)).ok().map(|bytes| ConfigDigest::of(&bytes).to_string())
}

/// Reads `bytes` as the configuration of the pipeline in `dir`; `file` is what errors call it.
pub(crate) fn parse(dir: PathBuf, file: &Path, bytes: &[u8]) -> Result<Pipeline, ConfigError> {
    let doc = Document::new(file, bytes)?;
    let table = doc.parse()?;
    let top = Section::new(&doc, String::new(), 0..0, &table, &["run", "status", "queue", "source", "service"])?;

    let mut queues = Vec::new();
    for named in top.named_tables("queue")? {
        queues.push(queue::read(&doc, named)?);
    }
    queue::check_outputs(&queues)?;
    let queues: Vec<_> = queues.into_iter().map(|queue| queue.spec).collect();

    let mut sources: Vec<SourceSpec> = Vec::new();
    for (span, table) in top.listed_tables("source")? {
        let section =
            Section::new(&doc, "[[source]]".into(), span.clone(), table, &["path", "format", "queue", "key"])?;
        let source = read_source(&section, &queues.iter().map(|queue| &*queue.policy.name).collect::<Vec<_>>())?;
        let lies = |path: &Path| plain(&dir, path);
        if sources.iter().any(|other| lies(&other.path) == lies(&source.path) && other.queue == source.queue) {
            let what = format!("`{}` feeds the queue `{}` twice", source.path.display(), source.queue);
            return Err(doc.error(span, what).mend("take one of the two [[source]] tables out"));
        }
        let feeds_itself = |queue: &&QueueSpec| {
            let below = |output: &String| lies(Path::new(output)).starts_with(lies(&source.path));
            let below = queue.output.as_ref().is_some_and(below);
            source.format == Format::Files && below && *queue.policy.name == source.queue
        };
        if let Some(output) = queues.iter().find(feeds_itself).and_then(|queue| queue.output.as_ref()) {
            let (folder, queue) = (source.path.display(), &source.queue);
            let what = format!("`{folder}` feeds the queue `{queue}`, whose own results lie in it ({output}): a loop");
            return Err(doc.error(span, what).mend("let the `output` of the queue lie in another folder"));
        }
        sources.push(source);
    }

    let mut services = Vec::new();
    for Named { name, span, table } in top.named_tables("service")? {
        let section = Section::new(&doc, format!("[service.{name}]"), span, table, &["command", "kind", "log_max"])?;
        services.push(read_service(&section, name)?);
    }

    if queues.is_empty() && services.is_empty() {
        return Err(
            ConfigError::file(file, "it has no queue and no service").mend("add a table [queue.NAME] with a `command`")
        );
    }
    let mut pipeline = Pipeline {
        sources,
        services,
        env_allow: ENV_DEFAULT.map(String::from).into(),
        config_digest: ConfigDigest::of(bytes),
        ..Pipeline::new(dir, queues)
    };
    if let Some(run) = top.get("run") {
        let (span, table) = run.table("[run]")?;
        let section = Section::new(&doc, "[run]".into(), span, table, &RUN_KEYS)?;
        read_run(&section, &mut pipeline)?;
    }
    if let Some(status) = top.get("status") {
        let (span, table) = status.table("[status]")?;
        let section = Section::new(&doc, "[status]".into(), span, table, &["path"])?;
        pipeline.status_path = Some(read_status(&pipeline.dir, &section, &pipeline.sources)?);
    }
    Ok(pipeline)
}

/// The path as one way to write it among many, for comparing: seen from `dir`, without `.` and `..`. Links are left alone.
fn plain(dir: &Path, path: impl AsRef<Path>) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in dir.join(path).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => _ = plain.pop(),
            Component::Normal(_) | Component::RootDir | Component::Prefix(_) => plain.push(part),
        }
    }
    plain
}

fn read_run(section: &Section<'_>, pipeline: &mut Pipeline) -> Result<(), ConfigError> {
    if let Some(entry) = section.get("concurrency") {
        pipeline.limits.running_max = entry.small(1, CONCURRENCY_MAX)?;
    }
    if let Some(entry) = section.get("stop_timeout") {
        pipeline.stop_timeout_ms = entry.duration_ms()?;
    }
    if let Some(entry) = section.get("min_free") {
        pipeline.disk.min_free_bytes = Some(entry.bytes()?);
    }
    if let Some(entry) = section.get("keep_age") {
        pipeline.limits.keep_age_ms = entry.duration_ms()?;
    }
    if let Some(entry) = section.get("keep_jobs") {
        pipeline.limits.keep_jobs = entry.small(0, pipeline.limits.jobs_max)?;
    }
    if let Some(entry) = section.get("keep_bytes") {
        pipeline.disk.keep_bytes = Some(entry.bytes()?);
    }
    if let Some(entry) = section.get("keep_keys") {
        pipeline.disk.keep_keys = entry.small(0, u32::MAX.into())?;
    }
    if let Some(entry) = section.get("keep_key_age") {
        pipeline.disk.keep_key_age_ms = entry.duration_ms()?;
    }
    if let Some(entry) = section.get("keep_logs") {
        pipeline.disk.keep_log_bytes = Some(entry.bytes()?);
    }
    if let Some(entry) = section.get("keep_log_files") {
        pipeline.disk.keep_log_files = entry.small(0, u32::MAX.into())?;
    }
    if let Some(entry) = section.get("keep_log_age") {
        pipeline.disk.keep_log_age_ms = entry.duration_ms()?;
    }
    if let Some(entry) = section.get("flight") {
        pipeline.disk.flight_bytes = Some(flight_bytes(&entry)?);
    }
    if let Some(entry) = section.get("crashes") {
        pipeline.limits.crashes_max = entry.small(1, CRASHES_MAX)?;
    }
    if let Some(entry) = section.get("cgroup") {
        pipeline.cgroup = entry.bool()?;
    }
    if let Some(entry) = section.get("env") {
        pipeline.env_allow = Vec::new();
        for (span, name) in entry.strings()? {
            if name.is_empty() || name.contains(['=', '\0']) {
                let what = format!("{} holds {name:?}, which is no name of a variable", entry.path());
                return Err(entry.doc().error(span, what));
            }
            if name.starts_with("SPRAG_") {
                let what = format!("{} holds `{name}`, but sprag sets the SPRAG_ variables itself", entry.path());
                return Err(entry.doc().error(span, what).mend("take it out of the list"));
            }
            pipeline.env_allow.push(name);
        }
    }
    Ok(())
}

/// `[status]`: where a copy of the heartbeat is put.
fn read_status(dir: &Path, section: &Section<'_>, sources: &[SourceSpec]) -> Result<PathBuf, ConfigError> {
    let path = section.need("path", "path = \"status.json\"")?;
    let file = PathBuf::from(path.filled_string()?);
    let lies = |path: &Path| plain(dir, path);
    if file.file_name().is_none() || sources.iter().any(|source| lies(&source.path) == lies(&file)) {
        let what = format!("{} is {:?}, where no copy of the heartbeat can be put", path.path(), file.display());
        return Err(path.error(what).mend("name a file of its own: it is replaced every few seconds"));
    }
    Ok(file)
}

fn read_source(section: &Section<'_>, queues: &[&str]) -> Result<SourceSpec, ConfigError> {
    let path = section.need("path", "path = \"ideas_log.json\"")?;
    let file = path.filled_string()?;
    let format = section.need("format", "format = \"json-array\"")?;
    let words = [("json-array", Format::JsonArray), ("json-lines", Format::JsonLines), ("files", Format::Files)];
    let format = format.word(&words)?;
    let queue_entry = section.need("queue", "queue = \"NAME\"")?;
    let queue = queue_entry.filled_string()?;
    if !queues.contains(&&*queue) {
        let known = queues.join(", ");
        let what = format!("{} is `{queue}`, but there is no [queue.{queue}]", queue_entry.path());
        let what = what + &did_you_mean(&queue, queues.iter().copied());
        let mend = if known.is_empty() { "add the queue".into() } else { format!("queues here: {known}") };
        return Err(queue_entry.error(what).mend(mend));
    }
    let key = section.get("key");
    if let (Some(entry), Format::Files) = (&key, format) {
        let what = format!("{} does not go with format = \"files\": a file's key is its path", entry.path());
        return Err(entry.error(what).mend("take it out"));
    }
    let key = key.map(|entry| pointer(&entry)).transpose()?;
    Ok(SourceSpec { path: file.into(), format, queue, key })
}

fn pointer(entry: &Entry<'_>) -> Result<String, ConfigError> {
    let text = entry.string()?;
    match no_pointer(&text) {
        None => Ok(text),
        Some((why, mend)) => {
            let mend = if mend == format!("/{text}") { format!("write key = {mend:?}") } else { mend };
            Err(entry.error(format!("{} is {text:?}, which is no JSON pointer: {why}", entry.path())).mend(mend))
        }
    }
}

/// Why a text is no JSON pointer (RFC 6901) other than the empty one, and what to write: a pointer, or how to come by one.
fn no_pointer(text: &str) -> Option<(&'static str, String)> {
    if !text.starts_with('/') {
        return Some(("it must begin with `/`", format!("/{text}")));
    }
    let escaped = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    (!escaped).then(|| ("after `~` must come 0 or 1", "write ~0 for `~` and ~1 for `/` inside a name".into()))
}

/// Reads a JSON pointer of the command line.
pub(crate) fn pointer_arg(text: &str) -> Result<String, String> {
    match no_pointer(text) {
        None => Ok(text.into()),
        Some((why, mend)) => {
            let mend = if mend == format!("/{text}") { format!("write --key-at {mend}") } else { mend };
            Err(format!("it is no JSON pointer: {why}; {mend}"))
        }
    }
}

fn read_service(section: &Section<'_>, name: String) -> Result<ServiceSpec, ConfigError> {
    let command = section.need("command", "command = [\"sh\", \"producer.sh\"]")?.command()?;
    let kind = section.need("kind", "kind = \"oneshot\", or \"keep\" for one that is started again")?;
    let kind = kind.word(&[("oneshot", ServiceKind::Oneshot), ("keep", ServiceKind::Keep)])?;
    Ok(ServiceSpec { name, command, kind, log_bytes_max: log_bytes_max(section)? })
}

fn flight_bytes(entry: &Entry<'_>) -> Result<u64, ConfigError> {
    match entry.bytes()? {
        bytes if (1..FLIGHT_BYTES_MIN).contains(&bytes) => {
            let error = entry.error(format!("{} is too small", entry.path()));
            Err(error.mend("write \"64KiB\" or more, or \"0B\" for none"))
        }
        bytes => Ok(bytes),
    }
}

/// How much of a log is kept. Less than the least would leave out what a log is for.
fn log_bytes_max(section: &Section<'_>) -> Result<u64, ConfigError> {
    let Some(entry) = section.get("log_max") else { return Ok(LOG_BYTES_MAX) };
    match entry.bytes()? {
        bytes if bytes < LOG_BYTES_MIN => {
            Err(entry.error(format!("{} is too small", entry.path())).mend("write \"64KiB\" or more"))
        }
        bytes => Ok(bytes),
    }
}
