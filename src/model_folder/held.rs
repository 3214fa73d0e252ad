//! A model folder whose model is held while a file beside it is replaced.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, openat, renameat, unlinkat};

use super::layout::MANIFEST;
use super::manifest::{Manifest, parse_manifest};
use crate::{Error, Result};

/// A model folder, open, with a lock on its manifest. Reads and writes go to the folder that was opened, even where
/// another one takes its path meanwhile. The operating system releases the lock when the process ends.
#[derive(Debug)]
pub(crate) struct HeldFolder {
    path: PathBuf,
    folder: File,
    /// Locked.
    _manifest: File,
}

impl HeldFolder {
    /// Opens a folder and waits until no other process holds it.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where there is no model, or where the file system has no locks.
    pub fn open(path: &Path) -> Result<Self> {
        let manifest_path = path.join(MANIFEST);
        loop {
            let folder = File::open(path).map_err(Error::io("open", path))?;
            // NFS locks only what is open for writing.
            let manifest = open_in(&folder, MANIFEST, OFlags::RDWR)
                .or_else(|_| open_in(&folder, MANIFEST, OFlags::RDONLY))
                .map_err(Error::io("open", &manifest_path))?;
            manifest.lock().map_err(Error::io("lock", &manifest_path))?;
            // The holder before may have replaced the folder or the manifest.
            if is_same(&folder, path) && is_same(&manifest, &manifest_path) {
                return Ok(Self { path: path.to_path_buf(), folder, _manifest: manifest });
            }
        }
    }

    /// Reads the manifest as it is now.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; [`Error::Data`] where it is damaged.
    pub fn manifest(&self) -> Result<Manifest> {
        let text = self.read(MANIFEST)?.unwrap_or_default();
        parse_manifest(&self.path.join(MANIFEST).display().to_string(), &text)
    }

    /// Reads a file of the folder; `None` where there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        match open_in(&self.folder, name, OFlags::RDONLY).and_then(|file| read_to_end(&file)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            result => result.map(Some).map_err(Error::io("read", self.path.join(name))),
        }
    }

    /// Writes a file of the folder, whole or not at all.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        // Only the holder of the lock writes this file, so that one which a killed process left is written over.
        let temporary = format!("{}{name}", crate::durable::TEMPORARY_PREFIX);
        let write = || {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
            let mut file = open_in(&self.folder, &temporary, flags)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            renameat(&self.folder, temporary.as_str(), &self.folder, name)?;
            // Some file systems refuse to sync a folder.
            let _ = self.folder.sync_all();
            Ok(())
        };
        write().map_err(|error| {
            let _ = unlinkat(&self.folder, temporary.as_str(), AtFlags::empty()); // the first error is the one to tell
            Error::io("write", self.path.join(name))(error)
        })
    }

    /// Whether the folder still lies at its path.
    pub fn is_in_place(&self) -> bool {
        is_same(&self.folder, &self.path)
    }
}

fn open_in(folder: &impl AsFd, name: &str, flags: OFlags) -> io::Result<File> {
    let mode = Mode::from_raw_mode(0o644);
    let file: OwnedFd = openat(folder, name, flags | OFlags::CLOEXEC, mode)?;
    Ok(file.into())
}

fn read_to_end(mut file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether `path` leads to the file that is open.
fn is_same(file: &File, path: &Path) -> bool {
    let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(there)) => id(open) == id(there),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::Duration;

    use super::*;

    fn model_folder(path: &Path, manifest: &str) {
        fs::create_dir(path).unwrap();
        fs::write(path.join(MANIFEST), manifest).unwrap();
    }

    #[test]
    fn a_folder_is_held_by_one_and_the_next_sees_what_it_wrote() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("model");
        model_folder(&path, "{}");
        let first = HeldFolder::open(&path).unwrap();
        let (sender, receiver) = channel();
        let second = {
            let path = path.clone();
            thread::spawn(move || {
                let held = HeldFolder::open(&path).unwrap();
                sender.send(held.read("x").unwrap()).unwrap();
            })
        };
        assert!(receiver.recv_timeout(Duration::from_millis(100)).is_err(), "it is held");
        assert_eq!(first.read("x").unwrap(), None);
        first.replace("x", b"1").unwrap();
        drop(first);
        assert_eq!(receiver.recv().unwrap(), Some(b"1".to_vec()));
        second.join().unwrap();
        let mut names: Vec<_> =
            fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [MANIFEST, "x"]);
    }

    #[test]
    fn what_is_written_goes_to_the_folder_that_was_opened() {
        let root = tempfile::tempdir().unwrap();
        let [path, aside, new] = ["model", "aside", "new"].map(|name| root.path().join(name));
        model_folder(&path, "{}");
        model_folder(&new, "{ }");
        let held = HeldFolder::open(&path).unwrap();
        assert!(held.is_in_place());
        fs::rename(&path, &aside).unwrap();
        fs::rename(&new, &path).unwrap();
        held.replace("x", b"1").unwrap();
        assert!(!held.is_in_place());
        assert!(aside.join("x").exists() && !path.join("x").exists());
        // The next one holds the folder that is there now, although the old one is still held.
        HeldFolder::open(&path).unwrap().replace("x", b"2").unwrap();
        assert_eq!(fs::read(path.join("x")).unwrap(), b"2");
    }

    #[test]
    fn a_folder_without_a_model_is_an_error_with_the_manifest() {
        let root = tempfile::tempdir().unwrap();
        let error = HeldFolder::open(root.path()).unwrap_err();
        assert!(error.exit_code() == 4 && error.to_string().contains(MANIFEST), "{error}");
    }
}
