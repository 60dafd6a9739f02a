//! Numbers of errors, as Linux has them.

/// No such file or directory.
pub const ENOENT: i32 = 2;
/// Interrupted: to be asked again.
pub const EINTR: i32 = 4;
/// Input/output error.
pub const EIO: i32 = 5;
/// File exists.
pub const EEXIST: i32 = 17;
/// Not a directory.
pub const ENOTDIR: i32 = 20;
/// Is a directory.
pub const EISDIR: i32 = 21;
/// Directory not empty.
pub const ENOTEMPTY: i32 = 39;
/// Invalid argument.
pub const EINVAL: i32 = 22;
/// No such device: a pipe at whose other end is nobody.
pub const ENXIO: i32 = 6;
/// Too many links, one behind the other; or one where none is followed.
pub const ELOOP: i32 = 40;
/// Too many open files.
pub const EMFILE: i32 = 24;
/// No space left on device.
pub const ENOSPC: i32 = 28;
/// Bad file descriptor: not open for writing.
pub const EBADF: i32 = 9;
