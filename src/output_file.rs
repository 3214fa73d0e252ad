//! Files that appear whole or not at all.

use std::fs::{self, File, Permissions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::{Error, Result};

/// A file that is written beside its path and renamed over it by [`OutputFile::commit`]. What is not a regular
/// file, such as `/dev/null` or a named pipe, is written to as it goes: renaming would replace it.
pub struct OutputFile {
    writer: BufWriter<Target>,
    path: PathBuf,
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
        // A link stays a link: what it points to is replaced.
        let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
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
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let temp = tempfile::Builder::new()
            .prefix(".ipsight-")
            .permissions(Permissions::from_mode(0o644))
            .tempfile_in(folder)
            .map_err(Error::io("create", path))?;
        Ok(Self::new(Target::Beside(temp), path))
    }

    fn new(target: Target, path: &Path) -> Self {
        OutputFile { writer: BufWriter::with_capacity(1 << 16, target), path: path.to_path_buf() }
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
        temp.as_file().sync_all().map_err(Error::io("write", &path))?;
        temp.persist(&path).map_err(|error| Error::io("rename", &path)(error.error))?;
        sync_folder(&path);
        Ok(())
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.writer.flush()
    }
}

/// Makes the rename itself durable, as far as the file system can: some refuse to sync a folder.
fn sync_folder(path: &Path) {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Ok(folder) = File::open(folder.unwrap_or(Path::new("."))) {
        let _ = folder.sync_all();
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
    fn a_device_is_written_to_and_a_folder_refused() {
        let mut file = OutputFile::create(Path::new("/dev/null")).unwrap();
        file.write_all(b"x").unwrap();
        file.commit().unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(OutputFile::create(folder.path()), Err(Error::Config { .. })));
    }
}
