//! Files and folders that appear whole or not at all: a temporary name, sync, rename, and sync of the folder.

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use tempfile::NamedTempFile;

use crate::{Error, Result};

/// A file that is written beside its path and renamed over it by [`OutputFile::commit`]. What is not a regular
/// file, such as `/dev/null` or a named pipe, is written to as it goes: renaming would replace it.
pub struct OutputFile {
    writer: BufWriter<Target>,
    path: PathBuf,
    /// Bytes written since the disk was last asked to take them.
    num_waiting: usize,
    early_sync: Option<EarlySync>,
}

/// How the names of the temporary files begin. A process that is killed leaves its own behind.
pub(crate) const TEMPORARY_PREFIX: &str = ".ipsight-";

/// How those of a training run in its folder begin. Its next start removes them: no other process writes such a file there.
pub(crate) const RUN_PREFIX: &str = ".ipsight-run-";

/// Links that are followed from one path, as on Linux.
const MAX_LINKS: usize = 40;

/// Bytes after which the disk is asked to take what was written.
const BYTES_PER_SYNC: usize = 32 << 20;

/// A thread that has the disk take a large file while it is still being written, so that the sync at the end
/// finds little left to do.
struct EarlySync {
    start: SyncSender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl EarlySync {
    fn new(file: File) -> io::Result<Self> {
        let (start, wanted) = sync_channel(1);
        // The system tells an error of a file once: the thread keeps it for the end.
        let sync = move || wanted.iter().try_for_each(|()| file.sync_data());
        Ok(Self { start, thread: thread::Builder::new().name("sync".into()).spawn(sync)? })
    }

    fn finish(self) -> io::Result<()> {
        drop(self.start);
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that syncs it failed")))
    }
}

enum Target {
    Beside(NamedTempFile),
    InPlace(File),
}

impl Target {
    fn file(&mut self) -> &mut File {
        match self {
            Target::Beside(temp) => temp.as_file_mut(),
            Target::InPlace(file) => file,
        }
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file().flush()
    }
}

impl OutputFile {
    /// Creates the temporary file, in the folder of `path`.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] where `path` is a folder, [`Error::Io`] where nothing can be created.
    pub fn create(path: &Path) -> Result<Self> {
        Self::create_as(path, TEMPORARY_PREFIX)
    }

    fn create_as(path: &Path, prefix: &str) -> Result<Self> {
        let path = &follow_links(path)?;
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                let help = "give the path of a file, new or to be replaced";
                return Err(Error::config(path.display().to_string(), "this is a folder", help));
            }
            Ok(metadata) if !metadata.is_file() => {
                let file = File::options().write(true).open(path).map_err(Error::io("write", path))?;
                return Ok(Self::new(Target::InPlace(file), path));
            }
            _ => {}
        }
        let folder = parent_of(path);
        let temp = tempfile::Builder::new()
            .prefix(prefix)
            .permissions(Permissions::from_mode(0o644))
            .tempfile_in(folder)
            .map_err(Error::io("create", path))?;
        Ok(Self::new(Target::Beside(temp), path))
    }

    /// Writes a whole file.
    ///
    /// # Errors
    ///
    /// As [`OutputFile::create`].
    pub fn write_all_to(path: &Path, bytes: &[u8]) -> Result<()> {
        Self::create(path)?.write_whole(bytes)
    }

    /// Writes a whole file of a training run into its folder, which this process has locked.
    ///
    /// # Errors
    ///
    /// As [`OutputFile::create`].
    pub(crate) fn write_of_run(path: &Path, bytes: &[u8]) -> Result<()> {
        Self::create_as(path, RUN_PREFIX)?.write_whole(bytes)
    }

    fn write_whole(mut self, bytes: &[u8]) -> Result<()> {
        self.write_all(bytes).map_err(Error::io("write", &self.path))?;
        self.commit()
    }

    fn new(target: Target, path: &Path) -> Self {
        let writer = BufWriter::with_capacity(1 << 16, target);
        OutputFile { writer, path: path.to_path_buf(), num_waiting: 0, early_sync: None }
    }

    fn sync_early(&mut self) -> io::Result<()> {
        let Target::Beside(temp) = self.writer.get_ref() else { return Ok(()) };
        if self.early_sync.is_none() {
            // Without a thread the sync at the end takes all of it.
            self.early_sync = EarlySync::new(temp.as_file().try_clone()?).ok();
        }
        if let Some(early_sync) = &self.early_sync {
            // Where it is still at work it will take these bytes too, or the sync at the end does.
            let _ = early_sync.start.try_send(());
        }
        Ok(())
    }

    /// Where the file will be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Flushes, syncs and renames.
    pub fn commit(self) -> Result<()> {
        let path = self.path;
        let target =
            self.writer.into_inner().map_err(|error| Error::io("write", &path)(error.into_error()))?;
        let Target::Beside(temp) = target else { return Ok(()) };
        if let Some(early_sync) = self.early_sync {
            early_sync.finish().map_err(Error::io("write", &path))?;
        }
        temp.as_file().sync_all().map_err(Error::io("write", &path))?;
        temp.persist(&path).map_err(|error| Error::io("rename", &path)(error.error))?;
        sync_folder_of(&path)
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let num = self.writer.write(bytes)?;
        self.num_waiting += num;
        if self.num_waiting >= BYTES_PER_SYNC {
            self.num_waiting = 0;
            self.sync_early()?;
        }
        Ok(num)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.writer.flush()
    }
}

/// Makes a folder and those above it. A link stays a link: the folder that it points to is made.
pub(crate) fn create_folder(path: &Path) -> Result<()> {
    let path = follow_links(path)?;
    fs::create_dir_all(&path).map_err(Error::io("create", &path))
}

/// Where a path leads in the end. Nothing has to be there: what is written there then appears behind its links.
fn follow_links(path: &Path) -> Result<PathBuf> {
    if path.exists() {
        // A pipe behind /dev/stdout has no path of its own.
        return Ok(fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf()));
    }
    let mut end = path.to_path_buf();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&end) {
            Ok(target) => end = parent_of(&end).join(target),
            Err(_) => return Ok(end),
        }
    }
    Err(Error::io("follow the links of", path)(rustix::io::Errno::LOOP.into()))
}

/// Renames a whole folder into place. Where the file system can, one that is there already changes places with it, so
/// that there is a whole one at any time.
pub(crate) fn exchange(temporary: &Path, folder: &Path) -> Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        if renameat_with(CWD, temporary, CWD, folder, RenameFlags::EXCHANGE).is_ok() {
            // The new one is in place; what is left of the old one does no harm.
            let _ = fs::remove_dir_all(temporary);
            return sync_folder_of(folder);
        }
    }
    replace(temporary, folder)
}

/// Renames a whole folder into place. A folder that is there already is moved aside first and removed last.
pub(crate) fn replace(temporary: &Path, folder: &Path) -> Result<()> {
    let old = temporary.with_extension("old");
    let replaces = folder.exists();
    if replaces {
        // One that was cut off here has left it.
        match fs::remove_dir_all(&old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("remove", &old)(error));
            }
            _ => {}
        }
        fs::rename(folder, &old).map_err(Error::io("rename", folder))?;
    }
    if let Err(error) = fs::rename(temporary, folder) {
        if replaces {
            let _ = fs::rename(&old, folder); // the first error is the one to tell
        }
        return Err(Error::io("rename", temporary)(error));
    }
    if replaces {
        // The new model is in place; what is left of the old one does no harm.
        let _ = fs::remove_dir_all(&old);
    }
    sync_folder_of(folder)
}

/// Removes what runs that were killed while they saved `folder` left beside it. An old model that was moved aside, and
/// not replaced, goes back to its place.
pub(crate) fn remove_half_written(folder: &Path) -> Result<()> {
    let parent = parent_of(folder);
    let start = format!(".{}.", folder.file_name().unwrap_or_default().to_string_lossy());
    let entries = match fs::read_dir(parent) {
        // A folder that may be written and not listed: nothing can be found in it.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
        entries => entries.map_err(Error::io("read", parent))?,
    };
    for entry in entries {
        let path = entry.map_err(Error::io("read", parent))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with(&start) {
            continue;
        }
        if name.ends_with(".old") && !folder.exists() {
            fs::rename(&path, folder).map_err(Error::io("rename", &path))?;
        } else if name.ends_with(".tmp") || name.ends_with(".old") {
            fs::remove_dir_all(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}

/// Has the disk take a file or a folder's list of names.
pub(crate) fn sync(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(Error::io("sync", path))
}

/// Makes the rename to `path` durable, as far as the file system can: some refuse to sync a folder.
fn sync_folder_of(path: &Path) -> Result<()> {
    // One that may be written and not read cannot be opened.
    let Ok(folder) = File::open(parent_of(path)) else { return Ok(()) };
    match folder.sync_all() {
        Err(error) if !matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Err(Error::io("sync the folder of", path)(error))
        }
        _ => Ok(()),
    }
}

/// The folder that holds `path`.
fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_only_when_it_is_committed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let mut file = OutputFile::create(&path).unwrap();
        file.write_all(b"x").unwrap();
        assert!(!path.exists());
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);

        let mut file = OutputFile::create(&path).unwrap();
        file.write_all(b"x").unwrap();
        file.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"x");
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode & !0o644, 0, "{mode:o}");
        assert_eq!(mode & 0o600, 0o600, "{mode:o}");
    }

    #[test]
    fn what_a_link_points_to_is_made_and_the_link_stays() {
        use std::os::unix::fs::symlink;

        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("below")).unwrap();
        symlink("below/second", at("first")).unwrap();
        symlink("../end", at("below/second")).unwrap();
        for bytes in [b"1", b"2"] {
            OutputFile::write_all_to(&at("first"), bytes).unwrap();
            assert_eq!(fs::read(at("end")).unwrap(), bytes);
        }
        assert!(at("first").is_symlink() && at("below/second").is_symlink());
        symlink(at("new/folder"), at("link")).unwrap();
        create_folder(&at("link")).unwrap();
        assert!(at("link").is_symlink() && at("new/folder").is_dir());

        symlink("absent/file", at("nowhere")).unwrap();
        let error = OutputFile::write_all_to(&at("nowhere"), b"1").unwrap_err();
        assert!(error.exit_code() == 4 && error.to_string().contains("absent/file"), "{error}");
        symlink("round", at("round")).unwrap();
        let error = OutputFile::write_all_to(&at("round"), b"1").unwrap_err();
        assert!(error.exit_code() == 4 && error.to_string().contains("round"), "{error}");
    }

    #[test]
    fn a_device_is_written_to_and_a_folder_refused() {
        let mut file = OutputFile::create(Path::new("/dev/null")).unwrap();
        file.write_all(b"x").unwrap();
        file.commit().unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(OutputFile::create(folder.path()), Err(Error::Config { .. })));
    }
}
