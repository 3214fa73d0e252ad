//! The files that are mapped, by name: a file that is cut while it is mapped, or changed, is an error that names it.
//!
//! A page behind a file's end raises SIGBUS, and no code of ours is asked before. The handler of [`exit_on_bus_error`]
//! looks which file has become shorter. It must not allocate or lock, so names lie in fixed slots.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::Write;
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use rustix::fs::stat;
use signal_hook::consts::SIGBUS;

use crate::{Error, Result};

/// Files that have a slot. Those beyond are mapped all the same, but an error cannot name them.
const NUM_SLOTS: usize = 512;

/// Bytes of a path that fits a slot, with the zero behind it.
const PATH_BYTES: usize = 512;

/// The exit code of [`Error::Io`].
const IO: i32 = 4;

struct Slot {
    is_taken: AtomicBool,
    start: AtomicUsize,
    len: AtomicUsize,
    device: AtomicU64,
    inode: AtomicU64,
    seconds: AtomicI64,
    nanoseconds: AtomicI64,
    path: [AtomicU8; PATH_BYTES],
}

static SLOTS: [Slot; NUM_SLOTS] = [const {
    Slot {
        is_taken: AtomicBool::new(false),
        start: AtomicUsize::new(0),
        len: AtomicUsize::new(0),
        device: AtomicU64::new(0),
        inode: AtomicU64::new(0),
        seconds: AtomicI64::new(0),
        nanoseconds: AtomicI64::new(0),
        path: [const { AtomicU8::new(0) }; PATH_BYTES],
    }
}; NUM_SLOTS];

/// Held while a slot is taken; the handler does not need it.
static TAKING: Mutex<()> = Mutex::new(());

/// A mapped file's slot, which is free again when this is dropped.
pub(super) struct Watch(Option<&'static Slot>);

impl Watch {
    /// Watches the file of `path`, which is mapped at `bytes`.
    pub(super) fn new(path: &Path, bytes: &[u8]) -> Self {
        let path = path.as_os_str().as_bytes();
        let mut name = [0; PATH_BYTES];
        if bytes.is_empty() || path.len() >= PATH_BYTES {
            return Self(None);
        }
        name[..path.len()].copy_from_slice(path);
        let Some(found) = CStr::from_bytes_until_nul(&name).ok().and_then(|name| stat(name).ok()) else {
            return Self(None);
        };
        let _guard = TAKING.lock();
        let Some(slot) = SLOTS.iter().find(|slot| !slot.is_taken.load(Ordering::Acquire)) else {
            return Self(None);
        };
        slot.path.iter().zip(name).for_each(|(to, from)| to.store(from, Ordering::Relaxed));
        slot.start.store(bytes.as_ptr() as usize, Ordering::Relaxed);
        slot.len.store(bytes.len(), Ordering::Relaxed);
        slot.device.store(found.st_dev, Ordering::Relaxed);
        slot.inode.store(found.st_ino, Ordering::Relaxed);
        slot.seconds.store(found.st_mtime, Ordering::Relaxed);
        slot.nanoseconds.store(found.st_mtime_nsec as i64, Ordering::Relaxed);
        slot.is_taken.store(true, Ordering::Release);
        Self(Some(slot))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(slot) = self.0 {
            slot.is_taken.store(false, Ordering::Release);
        }
    }
}

impl Slot {
    fn name(&self) -> [u8; PATH_BYTES] {
        let mut name = [0; PATH_BYTES];
        name.iter_mut().zip(&self.path).for_each(|(to, from)| *to = from.load(Ordering::Relaxed));
        name
    }

    fn has(&self, address: usize) -> bool {
        let start = self.start.load(Ordering::Relaxed);
        self.is_taken.load(Ordering::Acquire)
            && (start..start + self.len.load(Ordering::Relaxed)).contains(&address)
    }

    /// What has become of the file that is mapped; `None` where it is as it was, and where another file has its name, which
    /// leaves the mapped one as it is. Allocates nothing.
    fn change(&self) -> Option<&'static str> {
        let name = self.name();
        let now = stat(CStr::from_bytes_until_nul(&name).ok()?).ok()?;
        let is_same = now.st_dev == self.device.load(Ordering::Relaxed)
            && now.st_ino == self.inode.load(Ordering::Relaxed);
        let is_new = now.st_mtime != self.seconds.load(Ordering::Relaxed)
            || now.st_mtime_nsec as i64 != self.nanoseconds.load(Ordering::Relaxed);
        match now.st_size as usize {
            _ if !is_same => None,
            len if len < self.len.load(Ordering::Relaxed) => Some(CUT),
            _ if is_new => Some("it was changed while it was mapped"),
            _ => None,
        }
    }
}

const CUT: &str = "it was cut while it was mapped";

/// Refuses mapped bytes of a file that has been changed since.
///
/// # Errors
///
/// [`Error::Io`] with the file's name.
pub(super) fn check_unchanged(bytes: &[u8]) -> Result<()> {
    let address = bytes.as_ptr() as usize;
    let Some(slot) = SLOTS.iter().find(|slot| slot.has(address)) else { return Ok(()) };
    let Some(what) = slot.change() else { return Ok(()) };
    let name = slot.name();
    let len = name.iter().position(|byte| *byte == 0).unwrap_or(0);
    let source = std::io::Error::other(format!(
        "{what}: write a new file beside it and rename that over it, and start again"
    ));
    Err(Error::io("read", Path::new(OsStr::from_bytes(&name[..len])))(source))
}

/// From now on SIGBUS, which a mapped file raises that is cut, or whose disk fails, ends the process with exit code 4
/// and the file's name on stderr.
///
/// # Errors
///
/// [`Error::Process`] where the handler cannot be installed.
pub fn exit_on_bus_error() -> Result<()> {
    install(on_bus_error).map_err(Error::process("handle signals"))
}

#[allow(unsafe_code, reason = "a signal handler is: see the SAFETY comment")]
fn install(handler: fn()) -> std::io::Result<()> {
    // SAFETY: the handler reads atomics, calls stat and write, and leaves by _exit: all of it may be done in a handler.
    unsafe { signal_hook::low_level::register(SIGBUS, handler) }.map(drop)
}

/// Writes to stderr without its lock, which the thread that was interrupted may hold.
#[allow(unsafe_code, reason = "a file is made of a descriptor: see the SAFETY comment")]
fn write_to_stderr(bytes: &[u8]) {
    // SAFETY: descriptor 2 is open for the life of a program of Rust, and is not closed here.
    let mut stderr = ManuallyDrop::new(unsafe { File::from_raw_fd(2) });
    let _ = stderr.write_all(bytes);
}

fn on_bus_error() {
    let cut = SLOTS.iter().find(|slot| slot.is_taken.load(Ordering::Acquire) && slot.change() == Some(CUT));
    let mut text = [0; PATH_BYTES + 200];
    let mut rest = &mut text[..];
    let _ = rest.write_all(b"error: ");
    let what: &[u8] = match cut {
        Some(slot) => {
            let name = slot.name();
            let len = name.iter().position(|byte| *byte == 0).unwrap_or(0);
            let _ = rest.write_all(&name[..len]);
            b": cannot read: it was cut while it was mapped\n  help: write a new file beside it and rename that over it, and start again\n"
        }
        None => b"a mapped file cannot be read (SIGBUS): it was cut, or its disk failed\n",
    };
    let _ = rest.write_all(what);
    let num_left = rest.len();
    let num_written = text.len() - num_left;
    write_to_stderr(&text[..num_written]);
    signal_hook::low_level::exit(IO)
}
