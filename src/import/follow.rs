//! A file that grows, as `tail -F` follows it: through rotation and truncation.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use memchr::memrchr;

use super::importer::{CHUNK, Importer};
use crate::data::{MAX_LINE, compression_of};
use crate::{At, Error, Result};

/// Where following begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the first line of the file.
    Beginning,
    /// Behind the last whole line that is there; a file that is not there yet is read from its beginning.
    End,
}

/// Follows one file by its path.
pub struct Follower {
    path: PathBuf,
    file: Option<Followed>,
    start: Start,
    chunk: Vec<u8>,
    num_refused: u32,
}

/// Polls after which a new file that may not be read is an error: it is made first and its owner is set after that.
const MAX_REFUSED: u32 = 50;

/// A file that is open.
struct Followed {
    file: File,
    position: u64,
    device: u64,
    inode: u64,
}

impl Follower {
    /// Begins to follow `path`, which may not be there yet.
    pub fn new(path: PathBuf, start: Start) -> Self {
        Follower { path, file: None, start, chunk: vec![0; CHUNK], num_refused: 0 }
    }

    /// Whether the file is there, or was.
    pub fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Hands what has been written since the last poll to `importer`, whole lines only; `now` is the time in seconds
    /// since 1970-01-01T00:00:00Z. A line that is half written when its file is replaced or truncated is counted and
    /// dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where the file cannot be read, [`Error::Config`] where it is no plain file, [`Error::Data`]
    /// where it is compressed, and what the importer gives.
    pub fn poll(&mut self, importer: &mut Importer<'_>, now: i64) -> Result<()> {
        importer.newest = now;
        // Before the file is read: what is written to it before it is replaced must be read, too.
        let current = match std::fs::metadata(&self.path) {
            Ok(metadata) if !metadata.is_file() => return Err(self.no_plain_file()),
            Ok(metadata) => Some(metadata),
            // Between its renaming and a new file there is none.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io("read", &self.path)(error)),
        };
        let Some(followed) = &mut self.file else {
            if current.is_some() {
                self.open(importer)?;
                self.read(importer)?;
            }
            // Whatever comes later is new.
            self.start = Start::Beginning;
            return Ok(());
        };
        let is_same =
            |metadata: &Metadata| metadata.dev() == followed.device && metadata.ino() == followed.inode;
        // An old file may be written to until the new one is: syslog gets its signal after the rotation.
        let is_replaced = current.as_ref().is_some_and(|current| !is_same(current) && current.len() > 0);
        let length = followed.file.metadata().map_err(Error::io("read", &self.path))?.len();
        if length < followed.position {
            importer.end_input(false)?;
            followed.position = 0;
            followed.file.seek(SeekFrom::Start(0)).map_err(Error::io("read", &self.path))?;
        }
        self.read(importer)?;
        if is_replaced {
            importer.end_input(false)?;
            self.open(importer)?;
            self.read(importer)?;
        }
        Ok(())
    }

    fn no_plain_file(&self) -> Error {
        let what = format!("{} is no plain file", self.path.display());
        Error::config(
            At::option("follow"),
            what,
            "follow a file; a pipe is read as it comes without following",
        )
    }

    fn open(&mut self, importer: &mut Importer<'_>) -> Result<()> {
        let path = self.path.clone();
        let failed = || Error::io("read", &path);
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            // It has been renamed again: the next poll opens its successor.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error)
                if error.kind() == io::ErrorKind::PermissionDenied
                    && self.file.is_some()
                    && self.num_refused < MAX_REFUSED =>
            {
                self.num_refused += 1;
                return Ok(());
            }
            Err(error) => return Err(failed()(error)),
        };
        self.num_refused = 0;
        let metadata = file.metadata().map_err(failed())?;
        let mut magic = [0; 4];
        let num = file.read_at(&mut magic, 0).map_err(failed())?;
        if compression_of(&magic[..num]).is_some() {
            let help = "follow the file that is being written; import this one without following";
            return Err(Error::data(self.path.display().to_string(), "the file is compressed", help));
        }
        let position = match self.start {
            Start::Beginning => 0,
            Start::End => {
                let (position, is_line_start) = last_line(&file, metadata.len()).map_err(failed())?;
                if !is_line_start {
                    importer.skip_line();
                }
                position
            }
        };
        file.seek(SeekFrom::Start(position)).map_err(failed())?;
        let (device, inode) = (metadata.dev(), metadata.ino());
        self.file = Some(Followed { file, position, device, inode });
        self.start = Start::Beginning;
        Ok(())
    }

    /// Reads the open file to its end.
    fn read(&mut self, importer: &mut Importer<'_>) -> Result<()> {
        let Some(followed) = &mut self.file else { return Ok(()) };
        loop {
            match followed.file.read(&mut self.chunk) {
                Ok(0) => return Ok(()),
                Ok(num) => {
                    followed.position += num as u64;
                    importer.feed(&self.chunk[..num])?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("read", &self.path)(error)),
            }
        }
    }
}

/// Where the line begins that is not ended yet, the file's end where all are, and true; where it is too long to be one,
/// the file's end, and false.
fn last_line(file: &File, length: u64) -> io::Result<(u64, bool)> {
    let start = length.saturating_sub(MAX_LINE as u64);
    let mut tail = vec![0; (length - start) as usize];
    let mut num = 0;
    while num < tail.len() {
        match file.read_at(&mut tail[num..], start + num as u64) {
            Ok(0) => break,
            Ok(more) => num += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(match memrchr(b'\n', &tail[..num]) {
        Some(at) => (start + at as u64 + 1, true),
        None if start == 0 => (0, true),
        None => (length, false),
    })
}
