//! `cargo bench -p sprag`: what section "What was measured" of docs/architecture.md is filled from.
//!
//! **Invariant.** The real program is driven from outside, on real files; every rate stands beside a limit measured in the
//! same run. Noise fails nothing: only what does not work does.

#![expect(clippy::disallowed_methods, reason = "this measures: it reads clocks, waits, and starts threads")]

mod adds;
mod deaths;
mod http;
mod idle;
mod latency;
mod limits;
mod machine;
mod server;
mod size;
mod slices;
mod stamp;
mod table;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use slices::Slicing;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use table::Row;

pub(crate) type Res<T> = Result<T, Box<dyn Error>>;

/// Measures sprag beside what this machine can do.
///
/// Each ratio is a slice of work over the mean of the two slices of the limit around it; median and range of all slices.
///
/// Example: cargo bench -p sprag -- --quick restart
#[derive(Parser)]
#[command(name = "cargo bench -p sprag --")]
struct Args {
    /// Fewer and shorter slices, 100,000 pending jobs: under a minute
    #[arg(long)]
    quick: bool,
    /// A line of JSON for each measure
    #[arg(long)]
    json: bool,
    /// Where files are written; it should be a real disk [default: the target folder]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Only groups whose name contains one of these
    names: Vec<String>,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

/// What every measure needs.
pub(crate) struct Bench {
    pub(crate) quick: bool,
    /// A folder of its own.
    pub(crate) dir: PathBuf,
    pub(crate) slicing: Slicing,
    pub(crate) pending_max: u64,
    rows: Vec<Row>,
    bar: ProgressBar,
}

impl Bench {
    pub(crate) fn row(&mut self, row: Row) {
        self.bar.println(format!("{}: {} {}", row.measure, table::figure(row.median), row.unit));
        self.rows.push(row);
    }
}

type Group = (&'static str, fn(&mut Bench) -> Res<()>);

const GROUPS: [Group; 10] = [
    ("add-1-client", adds::one_client),
    ("add-16-clients", adds::many_clients),
    ("add-bulk", adds::bulk),
    ("no-op-jobs", adds::nothing_twice),
    ("file-replaced", latency::replaced_to_started),
    ("deaths", deaths::again),
    ("restart", size::restart),
    ("scaling", size::scaling),
    ("machine", machine::alone),
    ("idle", idle::idle),
];

fn main() -> ExitCode {
    let began_ns = stamp::now_ns();
    let words: Vec<String> = std::env::args().collect();
    let result = match words.as_slice() {
        [_, word, fifo] if word == stamp::WORD => stamp::tell(began_ns, fifo),
        _ => run(&Args::parse()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "this is for whoever looks on")]
            {
                eprintln!("the bench failed: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Res<()> {
    let within = args.dir.clone().unwrap_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")));
    std::fs::create_dir_all(&within)?;
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(within.canonicalize()?)?;
    let chosen = |name: &str| args.names.is_empty() || args.names.iter().any(|part| name.contains(part.as_str()));
    let groups: Vec<Group> = GROUPS.into_iter().filter(|(name, _)| chosen(name)).collect();
    if groups.is_empty() {
        return Err(format!("no such group; there are {}", GROUPS.map(|(name, _)| name).join(", ")).into());
    }
    let (rounds, slice_ms) = if args.quick { (5, 100) } else { (15, 150) };
    let bar = ProgressBar::new(groups.len() as u64);
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}, {elapsed}")?);
    let mut bench = Bench {
        quick: args.quick,
        dir: folder.path().to_owned(),
        slicing: Slicing { rounds, slice: Duration::from_millis(slice_ms) },
        pending_max: if args.quick { 100_000 } else { 1_000_000 },
        rows: Vec::new(),
        bar,
    };
    let load_before = load()?;
    for (name, group) in groups {
        bench.bar.set_message(name);
        group(&mut bench).map_err(|error| format!("{name}: {error}"))?;
        bench.bar.inc(1);
    }
    bench.bar.finish_and_clear();
    let about = serde_json::json!({
        "processor": processor()?,
        "files": file_system(folder.path())?,
        "load": format!("{load_before} before, {} after", load()?),
        "slices": format!("{rounds} of {slice_ms} ms"),
    });
    table::print(&bench.rows, &about, args.json)
}

fn load() -> Res<String> {
    Ok(std::fs::read_to_string("/proc/loadavg")?.split_whitespace().next().unwrap_or_default().to_owned())
}

fn processor() -> Res<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo")?;
    let name = text.lines().find_map(|line| Some(line.strip_prefix("model name")?.split_once(": ")?.1));
    Ok(format!("{} x {}", std::thread::available_parallelism()?, name.unwrap_or("unknown")))
}

/// What the files lie on: a file system in memory makes every figure that has a sync in it meaningless.
fn file_system(dir: &Path) -> Res<String> {
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let mut found = ("/", "unknown");
    for mount in mounts.lines() {
        let mut words = mount.split(' ').skip(1);
        if let (Some(at), Some(kind)) = (words.next(), words.next())
            && dir.starts_with(at)
            && at.len() >= found.0.len()
        {
            found = (at, kind);
        }
    }
    let in_memory = ["tmpfs", "ramfs"].contains(&found.1);
    let warning = if in_memory { ": IN MEMORY, so nothing here is durable; give --dir on a disk" } else { "" };
    Ok(format!("{} at {}{warning}", found.1, found.0))
}
