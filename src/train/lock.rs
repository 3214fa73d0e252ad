use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The file that is locked; it is there while a run is.
const LOCK: &str = ".lock";

/// Holds a folder for one run. The operating system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub struct FolderLock {
    path: PathBuf,
    file: File,
}

impl FolderLock {
    /// Locks a folder, which is made where it is not there.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] where another process holds it, [`Error::Io`] where it cannot be made or the file system
    /// knows no locks.
    pub fn take(folder: &Path) -> Result<Self> {
        crate::durable::create_folder(folder)?;
        let path = folder.join(LOCK);
        loop {
            // What it holds does not matter, so nothing is cut off that another may look at.
            let file = File::options()
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .map_err(Error::io("create", &path))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::config(
                        folder.display().to_string(),
                        "another ipsight is training in this folder",
                        "wait for it or stop it, or give another folder",
                    ));
                }
                Err(TryLockError::Error(source)) => return Err(Error::io("lock", &path)(source)),
            }
            // The one who had it removes it at its end: a lock on a file that is gone keeps nobody out.
            let locked = file.metadata().map_err(Error::io("read", &path))?;
            if fs::metadata(&path)
                .is_ok_and(|there| (there.dev(), there.ino()) == (locked.dev(), locked.ino()))
            {
                return Ok(Self { path, file });
            }
        }
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // While it is still held, see above. What is left behind locks nobody out.
        let _ = fs::remove_file(&self.path);
        let _ = self.file.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_held_once_and_let_go() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("run");
        let lock = FolderLock::take(&folder).unwrap();
        let error = FolderLock::take(&folder).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("another ipsight is training"), "{error}");
        drop(lock);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "the file goes with the lock");
        // As a process that was killed leaves it.
        fs::write(folder.join(LOCK), "").unwrap();
        FolderLock::take(&folder).unwrap();
    }
}
