//! Faults of the disk, and kills, at a chosen call of a program: see `failpoints.c`, which is preloaded into it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use tempfile::{NamedTempFile, TempDir};

use super::{Outcome, command, outcome, skipped};

/// What happens at the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// SIGKILL before it.
    Kill,
    /// SIGKILL after half of it, where it is a write.
    KillHalf,
    /// It fails, as on a disk without room, and so do all that follow.
    NoSpace,
    /// It alone fails, as on a disk that is worn out.
    BadDisk,
}

/// A run with a fault, or with the calls counted.
pub struct Faulty {
    pub outcome: Outcome,
    /// Calls that could have been hit.
    pub num_calls: u64,
    /// The call that was hit first, and its path.
    pub hit: Option<String>,
}

const RECORD_BYTES: usize = 512;

static LIBRARY: LazyLock<Option<(TempDir, PathBuf)>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("failpoints.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/failpoints.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-O2", "-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl");
    match compiler.output() {
        Ok(output) if output.status.success() => Some((folder, library)),
        Ok(output) => panic!("{source}: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => {
            assert!(std::env::var_os("IPSIGHT_REQUIRE_FAULTS").is_none(), "cc: {error}");
            skipped(&format!("cc: {error}"));
            None
        }
    }
});

/// Whether there can be faults; false after saying `skipped`. With `IPSIGHT_REQUIRE_FAULTS` set, as in CI, a missing
/// compiler is a failure.
pub fn available() -> bool {
    cfg!(target_os = "linux") && LIBRARY.is_some()
}

/// Runs the binary in `root` with a fault at the `at`th call that changes a file below `below`; at 0 there is none.
pub fn run(root: &Path, below: &Path, (how, at): (How, u64), args: &[&str]) -> Faulty {
    run_with(command(root, args), below, (how, at))
}

/// As [`run`], of any command.
pub fn run_with(mut command: Command, below: &Path, (how, at): (How, u64)) -> Faulty {
    let (_, library) = LIBRARY.as_ref().expect("asked for by available()");
    let record = NamedTempFile::new().unwrap();
    record.as_file().set_len(RECORD_BYTES as u64).unwrap();
    let how = match how {
        How::Kill => "kill",
        How::KillHalf => "kill-half",
        How::NoSpace => "enospc-on",
        How::BadDisk => "eio",
    };
    command
        .env("LD_PRELOAD", library)
        .env("IPSIGHT_FAIL_BELOW", below.canonicalize().unwrap())
        .env("IPSIGHT_FAIL_RECORD", record.path())
        .env("IPSIGHT_FAIL_AT", at.to_string())
        .env("IPSIGHT_FAIL_HOW", how);
    let outcome = outcome(command, b"");
    let record = fs::read(record.path()).unwrap();
    let number = |at: usize| u64::from_le_bytes(record[at..at + 8].try_into().unwrap());
    let text = record[16..].split(|byte| *byte == 0).next().unwrap();
    let hit = (number(8) > 0).then(|| String::from_utf8_lossy(text).into_owned());
    Faulty { outcome, num_calls: number(0), hit }
}
