//! File systems that other machines may change, known by their magic.
//!
//! **Invariant.** One list, for all who ask: what inotify does not tell of, and where a lock may be seen late or not at all, is
//! the same.

use rustix::fs::StatFs;

/// What they are, by their magic.
const NETWORK: [(u32, &str); 16] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x0102_1997, "9P"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x0bd0_0bd0, "Lustre"),
    (0x7375_7245, "Coda"),
    (0x564c, "NCP"),
    (0x0116_1970, "GFS2"),
    (0x7461_636f, "OCFS2"),
    (0x4750_4653, "GPFS"),
    (0x1983_0326, "BeeGFS"),
    (0x786f_4256, "VirtualBox"),
];
/// Stands for sshfs and its like, but for local ones too (ntfs-3g, fuse-overlayfs): who is careful takes it for one of them.
const FUSE: u32 = 0x6573_5546;

/// The name of a network file system.
pub(super) fn network(of: &StatFs) -> Option<&'static str> {
    named(of.f_type)
}

/// What lies behind FUSE nobody can tell.
pub(super) fn is_fuse(of: &StatFs) -> bool {
    magic(of.f_type) == FUSE
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the magic is 32 bits on every system")]
fn magic(of: impl Into<i64>) -> u32 {
    of.into() as u32
}

fn named<M: Into<i64>>(of: M) -> Option<&'static str> {
    let magic = magic(of);
    NETWORK.iter().find(|(known, _)| *known == magic).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::{magic, named};

    #[test]
    fn network_file_systems_are_known_by_their_magic() {
        assert_eq!([0x6969, 0x0102_1997, 0x00c3_6400].map(named::<i64>), [Some("NFS"), Some("9P"), Some("Ceph")]);
        // As a system with signed 32 bits says it.
        assert_eq!(named(0xff53_4d42_u32.cast_signed()), Some("CIFS"));
        assert_eq!(magic(0x6573_5546), super::FUSE);
        assert_eq!([0xef53, 0x0102_1994, 0x9123_683e, 0].map(named::<i64>), [None; 4], "ext4, tmpfs, btrfs, nothing");
    }
}
