//! The bytes of one input, decompressed, and what they look like.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use memchr::memchr_iter;

use super::input::{ARROW_MAGIC, Input};
use super::mapped::map_file;
use super::options::Format;
use super::source::Source;
use crate::{Error, Result};

/// How much is looked at to find out what an input is.
const MAX_HEAD: usize = 64 * 1024;

/// The decompressed bytes of one input.
pub(crate) struct Stream {
    name: String,
    path: PathBuf,
    reader: Box<dyn Read + Send>,
    compression: Option<&'static str>,
    is_plain_file: bool,
    /// Bytes that were read to look at them and have not been handed out yet.
    head: Vec<u8>,
    at_end: bool,
}

impl Stream {
    pub(crate) fn open(input: &Input) -> Result<Self> {
        let (path, is_file, reader): (PathBuf, bool, Box<dyn Read + Send>) = match input {
            Input::Stdin => ("stdin".into(), false, Box::new(io::stdin())),
            Input::File(path) => {
                let file = File::open(path).map_err(Error::io("read", path))?;
                let is_file = file.metadata().map_err(Error::io("read", path))?.is_file();
                (path.clone(), is_file, Box::new(file))
            }
        };
        Self::from_reader(input.to_string(), path, is_file, reader)
    }

    pub(super) fn from_reader(
        name: String,
        path: PathBuf,
        is_file: bool,
        mut reader: Box<dyn Read + Send>,
    ) -> Result<Self> {
        let magic = read_magic(&mut reader).map_err(Error::io("read", &path))?;
        let compression = compression_of(&magic);
        let raw = Cursor::new(magic).chain(reader);
        let reader: Box<dyn Read + Send> = match compression {
            Some("gzip") => Box::new(MultiGzDecoder::new(BufReader::with_capacity(1 << 16, raw))),
            Some(_) => Box::new(zstd::Decoder::new(raw).map_err(Error::io("read", &path))?),
            None => Box::new(raw),
        };
        let is_plain_file = is_file && compression.is_none();
        Ok(Stream { name, path, reader, compression, is_plain_file, head: Vec::new(), at_end: false })
    }

    /// The input's name in messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Decides by the content what the input is. A pipe is not waited for once a line of it is there.
    pub(super) fn sniff_format(&mut self) -> Result<Format> {
        self.look_ahead(16)?;
        self.refuse_foreign()?;
        if self.head.starts_with(b"PAR1") {
            return Ok(Format::Parquet);
        }
        if self.head.starts_with(ARROW_MAGIC) {
            return Ok(Format::Arrow);
        }
        loop {
            let text = self.head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&self.head);
            match text.iter().find(|byte| !byte.is_ascii_whitespace()) {
                Some(b'{') => return Ok(Format::JsonLines),
                Some(_) => return Ok(Format::Csv),
                None if self.at_end || self.head.len() >= MAX_HEAD => return Ok(Format::Csv),
                None => self.read_more()?,
            }
        }
    }

    /// Prepares for reading text: refuses UTF-16 and skips a UTF-8 byte order mark.
    pub(crate) fn start_text(&mut self) -> Result<()> {
        self.look_ahead(16)?;
        self.refuse_foreign()?;
        if is_utf16(&self.head) {
            return Err(Error::data(
                format!("{}:1", self.name),
                "the text is UTF-16",
                format!("convert it: iconv -f UTF-16 -t UTF-8 {} > FILE", self.name),
            ));
        }
        if self.head.starts_with(b"\xEF\xBB\xBF") {
            self.head.drain(..3);
        }
        Ok(())
    }

    /// Refuses what no reader takes by its name, instead of by what its bytes would be as text.
    fn refuse_foreign(&self) -> Result<()> {
        let is_binary = || std::str::from_utf8(&self.head[..self.head.len().min(4)]).is_err();
        let is_brotli = self.path.extension().is_some_and(|extension| extension == "br") && is_binary();
        let known = match is_brotli {
            true => Some(("compressed with brotli", "decompress it: brotli -dc FILE")),
            false => foreign(&self.head),
        };
        let Some((what, help)) = known else { return Ok(()) };
        Err(Error::data(&self.name, format!("the file is {what}"), help))
    }

    /// Gives back what was read last, to be read again.
    pub(super) fn unread(&mut self, bytes: &[u8]) {
        self.head.splice(..0, bytes.iter().copied());
    }

    /// Whether it is a file that is not compressed.
    pub(super) fn is_plain_file(&self) -> bool {
        self.is_plain_file
    }

    /// The whole input as bytes: a plain file is mapped, anything else is read into memory.
    pub(crate) fn into_bytes(mut self) -> Result<Bytes> {
        if self.is_plain_file {
            // Opened again, because the stream's own position is past the head.
            let file = File::open(&self.path).map_err(Error::io("read", &self.path))?;
            return map_file(&file, &self.path).map_err(Error::io("map", &self.path));
        }
        let mut bytes = std::mem::take(&mut self.head);
        match self.reader.read_to_end(&mut bytes) {
            Ok(_) => Ok(Bytes::from(bytes)),
            Err(error) => Err(self.error(error)),
        }
    }

    /// Reads until `num` bytes are there to be looked at, or all, or a line: the next one may be long in coming.
    fn look_ahead(&mut self, num: usize) -> Result<()> {
        while self.head.len() < num && !self.at_end && !has_line(&self.head) {
            self.read_more()?;
        }
        Ok(())
    }

    fn read_more(&mut self) -> Result<()> {
        let mut chunk = [0; 4096];
        let mut head = std::mem::take(&mut self.head);
        let result = self.read(&mut chunk);
        head.extend_from_slice(&chunk[..*result.as_ref().unwrap_or(&0)]);
        self.head = head;
        result.map(|_| ())
    }

    /// An error with the operating system's number is the disk's; any other comes from the decompressor.
    fn error(&self, error: io::Error) -> Error {
        match self.compression {
            Some(compression) if error.raw_os_error().is_none() => Error::data(
                &self.name,
                format!("the {compression} data are truncated or damaged ({error})"),
                "fetch or compress the file again",
            ),
            _ => Error::io("read", Path::new(&self.path))(error),
        }
    }
}

impl Source for Stream {
    fn name(&self) -> &str {
        &self.name
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if !self.head.is_empty() {
            let num = self.head.len().min(buffer.len());
            buffer[..num].copy_from_slice(&self.head[..num]);
            self.head.drain(..num);
            return Ok(num);
        }
        loop {
            match self.reader.read(buffer) {
                Ok(num) => {
                    self.at_end = num == 0;
                    return Ok(num);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.error(error)),
            }
        }
    }
}

/// The first bytes, as many as it takes to know whether and how they are compressed: at most four, and one where
/// text begins.
fn read_magic(reader: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut magic = Vec::new();
    while may_become_magic(&magic) {
        let mut more = [0; 4];
        match reader.read(&mut more[magic.len()..]) {
            Ok(0) => break,
            Ok(num) => magic.extend_from_slice(&more[magic.len()..][..num]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(magic)
}

/// Whether these bytes, fewer than four, are the beginning of something that [`compression_of`] knows.
fn may_become_magic(begun: &[u8]) -> bool {
    let fits = |byte: usize, magic: u8| begun.get(byte).is_none_or(|byte| *byte == magic);
    let is_gzip = || begun.len() < 2 && fits(0, 0x1F);
    let is_zstd = || fits(0, 0x28) && fits(1, 0xB5) && fits(2, 0x2F);
    let is_skippable = || begun.first().is_none_or(|byte| byte >> 4 == 5) && fits(1, 0x2A) && fits(2, 0x4D);
    begun.len() < 4 && (is_gzip() || is_zstd() || is_skippable())
}

/// Whether a line ends in `head`. In UTF-16 a zero byte stands beside the line feed, and there is more to look at; an
/// empty first line tells nothing.
fn has_line(head: &[u8]) -> bool {
    memchr_iter(b'\n', head).any(|at| at > 0 && head[at - 1] != 0 && head.get(at + 1) != Some(&0))
}

pub(crate) fn compression_of(magic: &[u8]) -> Option<&'static str> {
    match magic {
        [0x1F, 0x8B, ..] => Some("gzip"),
        [0x28, 0xB5, 0x2F, 0xFD] => Some("zstd"),
        // A skippable frame, which pzstd writes first.
        [0x50..=0x5F, 0x2A, 0x4D, 0x18] => Some("zstd"),
        _ => None,
    }
}

/// What is not read, known by its first bytes, and what to do about it.
fn foreign(head: &[u8]) -> Option<(&'static str, &'static str)> {
    const KNOWN: [(&[u8], &str, &str); 11] = [
        (b"\xFD7zXZ\0", "compressed with xz", "decompress it: xz -dc FILE"),
        (b"BZh", "compressed with bzip2", "decompress it: bzip2 -dc FILE"),
        (b"PK\x03\x04", "a ZIP archive", "unpack it: unzip -p FILE; a table of Excel is to be saved as CSV"),
        (b"\x04\x22\x4D\x18", "compressed with lz4", "decompress it: lz4 -dc FILE"),
        (b"7z\xBC\xAF\x27\x1C", "a 7z archive", "unpack it: 7z x -so FILE"),
        (b"\x1F\x9D", "compressed with compress", "decompress it: zcat FILE"),
        (b"PARE", "an encrypted Parquet file", "decrypt it first: keys are not read"),
        (b"FEA1", "Feather of version 1", "write it as version 2, which is Arrow IPC"),
        (
            b"\xFF\xFF\xFF\xFF",
            "an Arrow IPC stream",
            "write it as a file: pyarrow.ipc.new_file, not new_stream",
        ),
        (b"Obj\x01", "an Avro file", "write it as Parquet, CSV or JSON Lines"),
        (b"SQLite format 3\0", "a SQLite database", "write the table as CSV: sqlite3 -csv FILE 'select …'"),
    ];
    let (magic, what, help) = KNOWN.into_iter().find(|(magic, _, _)| head.starts_with(magic))?;
    // Text may begin with these letters; what follows in bzip2 are the digits of pi.
    let is_text = match magic {
        b"BZh" => head.get(4..10) != Some(&[0x31, 0x41, 0x59, 0x26, 0x53, 0x59]),
        b"PARE" | b"FEA1" => head.len() > 4 && !head.contains(&0) && head.contains(&b','),
        _ => false,
    };
    (!is_text).then_some((what, help))
}

/// A byte order mark, or ASCII with a zero byte before or after every character.
fn is_utf16(head: &[u8]) -> bool {
    let sample = &head[..head.len().min(16)];
    let zeros = |parity: usize| sample.iter().skip(parity).step_by(2).all(|byte| *byte == 0);
    head.starts_with(b"\xFF\xFE")
        || head.starts_with(b"\xFE\xFF")
        || (sample.len() >= 4 && (zeros(0) != zeros(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(bytes: &[u8]) -> Stream {
        let reader = Box::new(Cursor::new(bytes.to_vec()));
        Stream::from_reader("test".into(), "test".into(), false, reader).unwrap()
    }

    #[test]
    fn the_format_is_seen_in_the_content() {
        let blank = [b"\n".repeat(10_000), b"{}".to_vec()].concat();
        let cases: [(&[u8], Format); 9] = [
            (b"", Format::Csv),
            (b"a", Format::Csv),
            (b"a,1.2.3.4", Format::Csv),
            (b" \n\t{\"entity\"", Format::JsonLines),
            (b"\xEF\xBB\xBF{\"entity\"", Format::JsonLines),
            (b"PAR1....", Format::Parquet),
            (b"ARROW1\0\0", Format::Arrow),
            (b"\n\n", Format::Csv),
            (&blank, Format::JsonLines),
        ];
        for (bytes, format) in cases {
            let mut stream = stream(bytes);
            assert_eq!(stream.sniff_format().unwrap(), format, "{bytes:?}");
            assert_eq!(stream.into_bytes().unwrap(), bytes);
        }
    }

    /// A pipe that gives its bytes one read at a time and stays open: reading past them would block for ever.
    struct OpenPipe(std::collections::VecDeque<Vec<u8>>);

    impl Read for OpenPipe {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let mut bytes = self.0.pop_front().ok_or_else(|| io::Error::other("this read blocks"))?;
            let rest = bytes.split_off(buffer.len().min(bytes.len()));
            buffer[..bytes.len()].copy_from_slice(&bytes);
            if !rest.is_empty() {
                self.0.push_front(rest);
            }
            Ok(bytes.len())
        }
    }

    #[test]
    fn a_line_of_an_open_pipe_is_handed_on_at_once() {
        let lines: [&[u8]; 9] = [
            b"a,1.2.3.4\n",
            b"{\"a\":1}\n",
            b"\xEF\xBB\xBFa\n",
            b"a\n",
            b"P*M,1.2.3.4\n",
            b"P*\n",
            b"\x1F,\n",
            b"(\xB5/,\n",
            b"(\xC2\xB5,1.2.3.4\n",
        ];
        for line in lines {
            for num_at_once in [1, 2, 3, 100] {
                let reads = line.chunks(num_at_once).map(<[u8]>::to_vec).collect();
                let pipe = Box::new(OpenPipe(reads));
                let mut stream = Stream::from_reader("pipe".into(), "pipe".into(), false, pipe).unwrap();
                let format = if line[0] == b'{' { Format::JsonLines } else { Format::Csv };
                assert_eq!(stream.sniff_format().unwrap(), format);
                let mut text = super::super::text::Text::new(stream).unwrap();
                let first = text.next_line().unwrap().unwrap();
                let line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
                assert_eq!(first.bytes, &line[..line.len() - 1], "{num_at_once} at once");
            }
        }
    }

    #[test]
    fn an_empty_first_line_of_an_open_pipe_keeps_nothing_back() {
        let pipe = Box::new(OpenPipe([b"\n".to_vec(), b"a,1.2.3.4\n".to_vec()].into()));
        let mut stream = Stream::from_reader("pipe".into(), "pipe".into(), false, pipe).unwrap();
        assert_eq!(stream.sniff_format().unwrap(), Format::Csv);
        let mut text = super::super::text::Text::new(stream).unwrap();
        assert_eq!(text.next_line().unwrap().unwrap().bytes, b"");
        assert_eq!(text.next_line().unwrap().unwrap().bytes, b"a,1.2.3.4");
    }

    #[test]
    fn what_is_not_read_is_refused_by_its_name() {
        for (bytes, name) in [
            (&b"\xFD7zXZ\0rest"[..], "xz"),
            (b"BZh91AY&SYrest", "bzip2"),
            (b"PK\x03\x04rest", "ZIP"),
            (b"PARE....", "encrypted Parquet"),
            (b"FEA1....", "Feather"),
            (b"\xFF\xFF\xFF\xFF\x10\0\0\0", "Arrow IPC stream"),
        ] {
            let error = stream(bytes).sniff_format().unwrap_err();
            assert!(error.to_string().contains(name) && error.exit_code() == 3, "{error}");
            assert!(stream(bytes).start_text().is_err());
        }
        assert!(stream(b"BZh9,1.2.3.4\n").sniff_format().is_ok());
        // Text may begin so, too: a line of it has a comma and nothing that is no text.
        assert!(stream(b"PAREK,1.2.3.4\n").sniff_format().is_ok());
    }

    #[test]
    fn utf_16_is_distinguished_from_utf_8() {
        let utf16 = |text: &str, little: bool| -> Vec<u8> {
            text.encode_utf16()
                .flat_map(|unit| if little { unit.to_le_bytes() } else { unit.to_be_bytes() })
                .collect()
        };
        for little in [false, true] {
            assert!(is_utf16(&utf16("\u{FEFF}ü", little)));
            assert!(is_utf16(&utf16("user,1.2.3.4", little)));
        }
        for text in [&b""[..], b"a", b"a,1.2.3.4", b"\0\0\0\0\0\0", b"\xFFab,1.2.3.4"] {
            assert!(!is_utf16(text), "{text:?}");
        }
    }
}
