//! Every bad file and its whole message; every good word and what it becomes.

mod refused;

use super::*;
use sprag_core::{Limits, QueueConfig, RetryPolicy};
use sprag_runtime::pipeline::{DiskLimits, QueueSpec};

const GOOD: &str = r#"
[run]
concurrency = 3
stop_timeout = "30s"
min_free = "128MiB"
keep_age = "7d"
keep_jobs = 5000
keep_logs = "2GiB"
keep_log_files = 500
keep_log_age = "1h"
keep_bytes = "3MiB"
keep_keys = 7
keep_key_age = "1d"
crashes = 4
cgroup = true
env = ["PATH", "EDITOR"]

[status]
path = "/var/lib/monitor/status"

[queue.implement]
command = ["sh", "implement.sh"]
concurrency = 2
timeout = "10m"
grace = "5s"
retry = { attempts = 7, backoff = "2s", factor = 1.5, max = "5m", jitter = 0.25, permanent_exit_codes = [64, 65] }
output = "implementations/{key}.json"
log_max = "1MiB"

[[source]]
path = "ideas_log.json"
format = "json-array"
queue = "implement"
key = "/id"

[[source]]
path = "/elsewhere/QAissue.json"
format = "json-lines"
queue = "archive"

[[source]]
path = "drafts"
format = "files"
queue = "archive"

[queue.archive]
command = ["true"]

[service.producer]
command = ["sh", "producer.sh"]
kind = "oneshot"
log_max = "2MiB"

[service.outline]
command = ["outline"]
kind = "keep"
"#;

fn read(text: &str) -> Result<Pipeline, ConfigError> {
    parse("/p".into(), Path::new("sprag.toml"), text.as_bytes())
}

#[test]
fn everything_that_can_be_said_is_understood() {
    let pipeline = read(GOOD).unwrap();
    let retry = RetryPolicy {
        attempts: 7,
        backoff_ms: 2_000,
        factor_ppm: 1_500_000,
        max_ms: 300_000,
        jitter_ppm: 250_000,
        permanent_exit_codes: vec![64, 65],
    };
    let implement = QueueConfig {
        name: "implement".into(),
        concurrency: 2,
        timeout_ms: Some(600_000),
        grace_ms: 5_000,
        retry,
        ..QueueConfig::default()
    };
    let archive = QueueConfig { name: "archive".into(), ..QueueConfig::default() };
    let command = |words: &[&str]| words.iter().map(|word| String::from(*word)).collect::<Vec<_>>();
    let source = |path: &str, format, queue: &str, key: Option<&str>| SourceSpec {
        path: path.into(),
        format,
        queue: queue.into(),
        key: key.map(Into::into),
    };
    let expected = Pipeline {
        dir: "/p".into(),
        queues: vec![
            QueueSpec {
                policy: implement,
                command: command(&["sh", "implement.sh"]),
                output: Some("implementations/{key}.json".into()),
                log_bytes_max: 1 << 20,
            },
            QueueSpec { policy: archive, command: command(&["true"]), output: None, log_bytes_max: LOG_BYTES_MAX },
        ],
        sources: vec![
            source("ideas_log.json", Format::JsonArray, "implement", Some("/id")),
            source("/elsewhere/QAissue.json", Format::JsonLines, "archive", None),
            source("drafts", Format::Files, "archive", None),
        ],
        services: vec![
            ServiceSpec {
                name: "producer".into(),
                command: command(&["sh", "producer.sh"]),
                kind: ServiceKind::Oneshot,
                log_bytes_max: 2 << 20,
            },
            ServiceSpec {
                name: "outline".into(),
                command: command(&["outline"]),
                kind: ServiceKind::Keep,
                log_bytes_max: LOG_BYTES_MAX,
            },
        ],
        env_allow: command(&["PATH", "EDITOR"]),
        limits: Limits {
            running_max: 3,
            keep_age_ms: 7 * 86_400_000,
            keep_jobs: 5_000,
            crashes_max: 4,
            ..Limits::default()
        },
        disk: DiskLimits {
            min_free_bytes: Some(128 << 20),
            keep_log_bytes: Some(2 << 30),
            keep_log_files: 500,
            keep_log_age_ms: 3_600_000,
            keep_bytes: Some(3 << 20),
            keep_keys: 7,
            keep_key_age_ms: 86_400_000,
        },
        status_path: Some("/var/lib/monitor/status".into()),
        stop_timeout_ms: 30_000,
        cgroup: true,
        config_digest: pipeline.config_digest,
    };
    assert_eq!(pipeline, expected);
}

#[test]
fn what_is_not_said_has_its_default() {
    let pipeline = read("[queue.q]\ncommand = [\"true\"]").unwrap();
    let policy = QueueConfig { name: "q".into(), ..QueueConfig::default() };
    assert_eq!(
        pipeline.queues,
        [QueueSpec { policy, command: vec!["true".into()], output: None, log_bytes_max: LOG_BYTES_MAX }]
    );
    assert_eq!(pipeline.limits, Limits::default());
    assert_eq!(pipeline.stop_timeout_ms, 10_000);
    assert_eq!(pipeline.env_allow, ENV_DEFAULT);
    let long = read("[queue.q]\ncommand = [\"true\"]\nretry.backoff = \"1h\"").unwrap();
    assert_eq!(long.queues[0].policy.retry.max_ms, 3_600_000, "no unnamed cap shortens a named wait");
}
