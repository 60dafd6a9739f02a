//! What several tests share, and the fuzz targets of `fuzz/`: functions of bytes that panic when a promise is broken.

pub mod fuzzing;
