//! What sprag costs while there is nothing to do.

use crate::adds::config;
use crate::server::Server;
use crate::table::{Row, Target};
use crate::{Bench, Res};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

pub(crate) fn idle(bench: &mut Bench) -> Res<()> {
    let config =
        config() + "\n[[source]]\npath = \"items.json\"\nformat = \"json-array\"\nqueue = \"bench\"\nkey = \"/id\"\n";
    let dir = bench.dir.join("idle");
    std::fs::create_dir_all(&dir)?;
    std::fs::write(dir.join("items.json"), "[{\"id\":1}]")?;
    let server = Server::new(dir, &config)?;
    let seconds = if bench.quick { 4 } else { 10 };
    // The first item is done and the journal sealed by then.
    sleep(Duration::from_secs(3));
    let before = server.cpu()?;
    sleep(Duration::from_secs(seconds));
    let used = (server.cpu()? - before).as_secs_f64() / seconds as f64 * 100.0;
    bench.row(Row::new(format!("idle for {seconds} s, processor"), "%", &[used], Target::AtMost(0.1)));
    match system_calls(&server, seconds)? {
        Some(calls) => {
            let each = calls as f64 / seconds as f64;
            bench.row(Row::new("idle, system calls a second", "", &[each], Target::AtMost(20.0)));
        }
        None => {
            let row = Row::new("idle, system calls a second", "", &[], Target::None);
            bench.row(row.beside("not measured: there is no strace, or it may not look"));
        }
    }
    Ok(())
}

/// As `strace -c` counts them.
fn system_calls(server: &Server, seconds: u64) -> Res<Option<u64>> {
    let (pid, out) = (server.pid().to_string(), server.dir().join("strace.out"));
    let mut command = Command::new("strace");
    command
        .args(["-f", "-c", "-p", &pid, "-o"])
        .arg(&out)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let Ok(mut strace) = command.spawn() else { return Ok(None) };
    sleep(Duration::from_secs(seconds));
    let _ = rustix::process::kill_process(rustix::process::Pid::from_child(&strace), rustix::process::Signal::INT);
    strace.wait()?;
    let Ok(text) = std::fs::read_to_string(out) else { return Ok(None) };
    let total = text.lines().find(|line| line.ends_with(" total"));
    // Columns: % time, seconds, usecs/call, calls, perhaps errors, "total".
    Ok(total.and_then(|line| line.split_whitespace().nth(3)?.parse().ok()))
}
