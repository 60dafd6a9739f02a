//! The `sprag` command.

#[expect(unused_imports, reason = "the command line that reads it comes next")]
#[cfg_attr(not(test), expect(dead_code, reason = "the same"))]
mod config;

fn main() {}
