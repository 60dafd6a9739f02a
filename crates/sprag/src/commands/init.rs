//! `sprag init`: a pipeline to begin with.
//!
//! **Invariant.** Nothing that is there is touched; what is written runs as it stands.

use crate::cli::Cli;
use crate::config;
use crate::exit::{Exit, Failure};
use crate::out::Out;
use serde_json::json;
use std::fs::File;
use std::io::{self, Write as _};

const TEXT: &str = r#"# A pipeline of sprag. Every item of items.json becomes a job, and its result a file in results/.

[[source]]
path = "items.json"            # read, never written; replace it whole (write another file, rename it)
format = "json-array"
queue = "work"
key = "/id"                    # where an item says what it is; without it, a hash of the item

[queue.work]
command = ["sh", "-c", "cat"]  # gets the item as JSON on standard input; no shell unless you name one
concurrency = 2                # commands at once
timeout = "10m"                # then TERM, and KILL after `grace`
retry = { attempts = 5, backoff = "2s", factor = 2.0, max = "5m", jitter = 0.1, permanent_exit_codes = [64, 65] }
output = "results/{key}.json"  # what the command prints, put there whole or not at all

# A program that runs beside the jobs: "oneshot" once at each start, "keep" for ever.
# [service.producer]
# command = ["sh", "producer.sh"]
# kind = "oneshot"
"#;

pub(super) fn run(cli: &Cli, out: &mut Out) -> Result<Exit, Failure> {
    let path = cli.dir.join(config::FILE);
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::new(Exit::Usage, format!("{} is there already", path.display()))
            .mend("name another folder with -C, or edit what is there"),
        io::ErrorKind::NotFound => {
            Failure::new(Exit::Configuration, format!("{}: there is no such folder", cli.dir.display()))
                .mend("make it first, or name another with -C")
        }
        _ => Failure::new(Exit::StateIo, format!("cannot write {}: {error}", path.display())),
    };
    let mut file = File::create_new(&path).map_err(failed)?;
    file.write_all(TEXT.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    if cli.json {
        out.json(&json!({ "file": path }))?;
    } else {
        out.line(format_args!(
            "wrote {}\nnext:\n  echo '[{{\"id\": \"first\"}}]' > items.json\n  sprag run --until-idle\n  sprag list",
            path.display()
        ))?;
    }
    Ok(Exit::Ok)
}
