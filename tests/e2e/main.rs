//! The real binary, from outside.

#![expect(clippy::disallowed_methods, reason = "a test of the real program waits in real time")]
#![expect(clippy::unwrap_used, reason = "helpers of tests; the lint knows only the tests themselves")]

mod api;
mod children;
mod cli;
mod disk;
mod listing;
mod mistakes;
mod operator;
mod run;
mod sources;
mod stop;
mod support;
mod words;
