//! sim

pub mod fs;
