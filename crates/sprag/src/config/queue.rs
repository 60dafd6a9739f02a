//! `[queue.NAME]`: its policy, its command, and where its results go.
//!
//! **Invariant.** No result leaves the folder, and no two queues send their results to the same names.

use super::CONCURRENCY_MAX;
use super::document::{ConfigError, Document, Entry, Named, Section, did_you_mean};
use sprag_core::{QueueConfig, RetryPolicy};
use sprag_runtime::pipeline::QueueSpec;
use std::path::{Component, Path};

const KEYS: [&str; 7] = ["command", "concurrency", "timeout", "grace", "retry", "output", "log_max"];
const RETRY_KEYS: [&str; 6] = ["attempts", "backoff", "factor", "max", "jitter", "permanent_exit_codes"];
/// A wait grows at most by this factor from one attempt to the next.
const FACTOR_MAX: u32 = 1_000;
/// What is filled into `output`.
const PLACEHOLDERS: [&str; 2] = ["{key}", "{job}"];

/// A queue, and the entry of its `output` for comparing with others.
pub(super) struct Queue<'a> {
    pub(super) spec: QueueSpec,
    output: Option<Entry<'a>>,
}

/// Reads the table `[queue.name]`.
pub(super) fn read<'a>(doc: &'a Document<'a>, queue: Named<'a>) -> Result<Queue<'a>, ConfigError> {
    let Named { name, span, table } = queue;
    let section = Section::new(doc, format!("[queue.{name}]"), span, table, &KEYS)?;
    let command = section.need("command", "command = [\"sh\", \"work.sh\"]")?.command()?;
    let mut policy = QueueConfig { name: name.as_str().into(), ..QueueConfig::default() };
    if let Some(entry) = section.get("concurrency") {
        policy.concurrency = entry.small(1, CONCURRENCY_MAX)?;
    }
    if let Some(entry) = section.get("timeout") {
        let timeout_ms = entry.duration_ms()?;
        if timeout_ms == 0 {
            let error = entry.error(format!("{} is zero: every attempt would end at once", entry.path()));
            return Err(error.mend("leave `timeout` out for none"));
        }
        policy.timeout_ms = Some(timeout_ms);
    }
    if let Some(entry) = section.get("grace") {
        policy.grace_ms = entry.duration_ms()?;
    }
    if let Some(entry) = section.get("retry") {
        let (span, table) = entry.table("retry = { attempts = 5, backoff = \"2s\" }")?;
        let section = Section::new(doc, format!("`retry` of [queue.{name}]"), span, table, &RETRY_KEYS)?;
        policy.retry = read_retry(&section)?;
    }
    let output = section.get("output");
    let output_text = output.as_ref().map(read_output).transpose()?;
    let log_bytes_max = super::log_bytes_max(&section)?;
    Ok(Queue { spec: QueueSpec { policy, command, output: output_text, log_bytes_max }, output })
}

fn read_retry(section: &Section<'_>) -> Result<RetryPolicy, ConfigError> {
    let mut retry = RetryPolicy::default();
    if let Some(entry) = section.get("attempts") {
        retry.attempts = entry.small(1, u32::MAX.into())?;
    }
    if let Some(entry) = section.get("backoff") {
        retry.backoff_ms = entry.duration_ms()?;
    }
    if let Some(entry) = section.get("factor") {
        retry.factor_ppm = entry.ppm(1, FACTOR_MAX)?;
    }
    match section.get("max") {
        Some(entry) => {
            retry.max_ms = entry.duration_ms()?;
            if retry.max_ms < retry.backoff_ms {
                let what = format!("{} is shorter than `backoff`", entry.path());
                return Err(entry.error(what).mend("`max` caps the wait between attempts, which begins at `backoff`"));
            }
        }
        // A cap that the user did not name must not shorten a wait that they did name.
        None => retry.max_ms = retry.max_ms.max(retry.backoff_ms),
    }
    if let Some(entry) = section.get("jitter") {
        retry.jitter_ppm = entry.ppm(0, 1)?;
    }
    if let Some(entry) = section.get("permanent_exit_codes") {
        retry.permanent_exit_codes = entry.smalls(0, 255)?;
    }
    Ok(retry)
}

/// Where results go: below the folder, one name per job.
fn read_output(entry: &Entry<'_>) -> Result<String, ConfigError> {
    let output = entry.filled_string()?;
    let fault = |what: &str| entry.error(format!("{} is {output:?}: {what}", entry.path()));
    check_placeholders(&output)
        .map_err(|what| fault(&what).mend("{key} is the job's key, {job} its number; nothing else is filled in"))?;
    if !PLACEHOLDERS.iter().any(|placeholder| output.contains(placeholder)) {
        return Err(fault("every job would write to the same file").mend("put {key} or {job} into it"));
    }
    let mut parts = Path::new(&output).components();
    if parts.any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(fault("it leaves the folder").mend("name a path below the folder, without a leading `/` and `..`"));
    }
    if Path::new(&output)
        .components()
        .find(|part| *part != Component::CurDir)
        .is_some_and(|part| part.as_os_str() == ".sprag")
    {
        return Err(fault("the folder .sprag is sprag's own").mend("name another folder"));
    }
    if output.ends_with('/') || output.ends_with("/.") {
        return Err(fault("it names a folder, not a file").mend("write for example \"results/{key}.json\""));
    }
    Ok(output)
}

fn check_placeholders(output: &str) -> Result<(), String> {
    let mut rest = output;
    while let Some(at) = rest.find(['{', '}']) {
        rest = &rest[at..];
        let end = rest.find('}').filter(|end| *end > 0 && !rest[1..*end].contains('{'));
        let Some(end) = end else {
            return Err(format!("the `{}` has no partner", &rest[..1]));
        };
        let placeholder = &rest[..=end];
        if !PLACEHOLDERS.contains(&placeholder) {
            return Err(format!("`{placeholder}` is unknown{}", did_you_mean(placeholder, PLACEHOLDERS)));
        }
        rest = &rest[end + 1..];
    }
    Ok(())
}

/// Two queues must not write to the same files: keys are unique within a queue only.
pub(super) fn check_outputs(queues: &[Queue<'_>]) -> Result<(), ConfigError> {
    for (at, queue) in queues.iter().enumerate() {
        let Some(entry) = &queue.output else { continue };
        let lies = |queue: &Queue<'_>| queue.spec.output.as_deref().map(|output| super::plain(Path::new(""), output));
        let same = |other: &&Queue<'_>| lies(other) == lies(queue);
        if let Some(other) = queues[..at].iter().find(same) {
            let name = &other.spec.policy.name;
            let what = format!("{} is the same as in [queue.{name}]", entry.path());
            return Err(entry
                .error(what)
                .mend("the results of two queues would replace each other: give each its own folder"));
        }
    }
    Ok(())
}
