//! A large build context must not be held in memory. Alone in its program, so that the peak is that of sending.

use pipeline::image::context::{Context, Times};
use std::{fs, fs::File, io};

/// Bytes of the file that is sent. It is sparse: it takes no room on the disk.
const CONTEXT: u64 = 2 * 1024 * 1024 * 1024;

/// KiB by which the peak may grow: buffers, and what the allocator adds.
const ALLOWED_KIB: u64 = 4 * 1024;

/// The most memory that this program has had, in KiB.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux tells of its processes");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it tells of the peak");
    line.trim().trim_end_matches(" kB").parse().expect("it is a number of KiB")
}

#[test]
fn two_gigabytes_pass_within_a_few_megabytes() {
    let folder = tempfile::tempdir().unwrap();
    File::create(folder.path().join("large")).unwrap().set_len(CONTEXT).unwrap();
    let context = Context::open(folder.path(), None).unwrap();
    let before = peak_kib();
    let sent = context.send(io::sink(), Times::AS_ON_DISK).unwrap();
    let grown = peak_kib() - before;
    assert_eq!(sent.content_bytes, CONTEXT);
    assert!(grown < ALLOWED_KIB, "the peak grew by {grown} KiB");
}
