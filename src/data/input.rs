//! Which files are read: `-`, files, folders and globs.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use memchr::memmem;

use crate::{Error, Result};

/// What an Arrow IPC file begins with.
pub(super) const ARROW_MAGIC: &[u8] = b"ARROW1";

/// The key of a prepared file's metadata under which the hash of its entities is named.
pub(super) const HASH_KEY: &str = "ipsight.entity_hash";

/// What ends an Arrow IPC file: the footer's length and the magic.
const FOOTER_END: usize = 4 + ARROW_MAGIC.len();

/// Whether the footer at the end of an Arrow IPC file has the key of prepared files.
pub(super) fn is_prepared(file: &[u8]) -> bool {
    let start = file.len().saturating_sub(FOOTER_END + footer_len(file) as usize);
    memmem::find(&file[start..], HASH_KEY.as_bytes()).is_some()
}

/// The length of the footer of an Arrow IPC file that ends so; 0 where it does not.
fn footer_len(end: &[u8]) -> u64 {
    let tail = end.last_chunk::<FOOTER_END>().filter(|tail| tail.ends_with(ARROW_MAGIC));
    tail.map_or(0, |tail| u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]).into())
}

/// Something that rows are read from. `Display` gives `stdin` or the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The standard input.
    Stdin,
    /// A file.
    File(PathBuf),
}

impl Input {
    /// Its path, where it is a prepared file, which can be mapped where it lies.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where it cannot be read.
    pub fn prepared_file(&self) -> Result<Option<&Path>> {
        let Input::File(path) = self else { return Ok(None) };
        // A pipe's first bytes come once.
        if !fs::metadata(path).map_err(Error::io("read", path))?.is_file() {
            return Ok(None);
        }
        let mut magic = Vec::new();
        let failed = || Error::io("read", path);
        let mut file = fs::File::open(path).map_err(failed())?;
        (&mut file).take(ARROW_MAGIC.len() as u64).read_to_end(&mut magic).map_err(failed())?;
        if magic != ARROW_MAGIC {
            return Ok(None);
        }
        let mut end = Vec::new();
        let length = file.seek(SeekFrom::End(0)).map_err(failed())?;
        for _ in 0..2 {
            let len = FOOTER_END as u64 + footer_len(&end);
            end.clear();
            file.seek(SeekFrom::Start(length.saturating_sub(len))).map_err(failed())?;
            file.read_to_end(&mut end).map_err(failed())?;
        }
        Ok(is_prepared(&end).then_some(path))
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Input::Stdin => f.write_str("stdin"),
            Input::File(path) => path.display().fmt(f),
        }
    }
}

/// What is read, and what was found beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    /// What is read, in order.
    pub inputs: Vec<Input>,
    /// Files and folders below folders that are not read: hidden ones, and those that programs write beside data.
    pub num_passed_over: usize,
    /// Folders that are tables of Delta Lake: files that its log has removed are read, too.
    pub delta_tables: Vec<PathBuf>,
}

/// As [`find_inputs`], without what was found beside them.
///
/// # Errors
///
/// As [`find_inputs`].
pub fn resolve_inputs(paths: &[impl AsRef<OsStr>]) -> Result<Vec<Input>> {
    find_inputs(paths).map(|found| found.inputs)
}

/// Whether what has this name below a folder is no data: hidden, with a point or, as Spark, Hive and Delta Lake have it,
/// with an underscore in front (but `_x=1` is a column of a partitioned table), or what Athena writes beside its results.
fn is_passed_over(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(b".")
        || (name.starts_with(b"_") && !name.contains(&b'='))
        || name.ends_with(b".csv.metadata")
}

/// Turns paths into inputs: `-` is stdin, a folder is every file below it in the order of their paths, and
/// a path that does not exist but has `*`, `?` or `[` is a glob. Hidden files and folders below a folder or
/// behind a wildcard are left out, and below a folder what programs write beside data.
///
/// # Errors
///
/// [`Error::Io`] for a path that does not exist or cannot be listed, [`Error::Data`] for a folder or a glob
/// without files, [`Error::Config`] for a malformed glob, one that is not UTF-8, or `-` given twice.
pub fn find_inputs(paths: &[impl AsRef<OsStr>]) -> Result<Inputs> {
    let mut found = Inputs::default();
    for path in paths {
        let path = path.as_ref();
        let has_wildcard = path.as_encoded_bytes().iter().any(|byte| b"*?[".contains(byte));
        if path == "-" {
            if found.inputs.contains(&Input::Stdin) {
                return Err(Error::config("-", "stdin is given twice", "it can be read only once"));
            }
            found.inputs.push(Input::Stdin);
        } else if Path::new(path).exists() || !has_wildcard {
            add_path(Path::new(path), &mut found)?;
        } else {
            add_glob(path, &mut found)?;
        }
    }
    Ok(found)
}

fn add_path(path: &Path, found: &mut Inputs) -> Result<()> {
    let metadata = fs::metadata(path).map_err(Error::io("read", path))?;
    if !metadata.is_dir() {
        found.inputs.push(Input::File(path.to_path_buf()));
        return Ok(());
    }
    let mut files = Vec::new();
    list_folder(path, &mut Vec::new(), &mut files, found)?;
    if files.is_empty() {
        let help = "give a folder with files in it; hidden files are not read";
        return Err(Error::data(path.display().to_string(), "the folder has no files", help));
    }
    files.sort();
    found.inputs.extend(files.into_iter().map(Input::File));
    Ok(())
}

fn list_folder(
    folder: &Path,
    parents: &mut Vec<PathBuf>,
    files: &mut Vec<PathBuf>,
    found: &mut Inputs,
) -> Result<()> {
    // A link to a folder above would be walked for ever.
    let real = folder.canonicalize().map_err(Error::io("read", folder))?;
    if parents.contains(&real) {
        return Ok(());
    }
    parents.push(real);
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let entry = entry.map_err(Error::io("read", folder))?;
        if is_passed_over(&entry.file_name()) {
            found.num_passed_over += 1;
            if entry.file_name() == "_delta_log" {
                found.delta_tables.push(folder.to_path_buf());
            }
            continue;
        }
        let path = entry.path();
        let metadata = fs::metadata(&path).map_err(Error::io("read", &path))?;
        if metadata.is_dir() {
            list_folder(&path, parents, files, found)?;
        } else if metadata.is_file() {
            files.push(path);
        }
    }
    parents.pop();
    Ok(())
}

fn add_glob(pattern: &OsStr, found: &mut Inputs) -> Result<()> {
    let Some(pattern) = pattern.to_str() else {
        let what = "there is no such file, and a glob has to be UTF-8";
        return Err(Error::config(
            pattern.display().to_string(),
            what,
            "write `?` for each byte that is not",
        ));
    };
    let options = glob::MatchOptions {
        require_literal_leading_dot: true,
        require_literal_separator: true,
        ..Default::default()
    };
    let glob = glob::Pattern::new(pattern).map_err(|error| {
        Error::config(pattern, format!("not a glob: {error}"), "write a literal `[` as `[[]`")
    })?;
    // The glob crate's own walk panics at a file name that is not UTF-8, so only its matching is used. The
    // walk starts at the folder that stands before the first wildcard.
    let wildcard = pattern.find(['*', '?', '[']).unwrap_or(0);
    let folder = pattern[..wildcard].rfind('/').map_or("", |slash| &pattern[..=slash]);
    let depth = if pattern.contains("**") { usize::MAX } else { pattern[folder.len()..].split('/').count() };
    let mut matches = Vec::new();
    let start = if folder.is_empty() { Path::new(".") } else { Path::new(folder) };
    walk_matches(
        start,
        Path::new(folder),
        depth,
        // A name that is not UTF-8 matches by its wildcards.
        &|path| glob.matches_with(&path.to_string_lossy(), options),
        &mut matches,
    )?;
    matches.sort();
    let num_before = found.inputs.len();
    for path in matches {
        if !path.is_dir() {
            found.inputs.push(Input::File(path));
        } else if !pattern.contains("**") {
            // With `**` the files below match themselves and must not be read twice.
            add_path(&path, found)?;
        }
    }
    if found.inputs.len() == num_before {
        return Err(Error::data(pattern, "the glob matches no file", "check it with `ls`"));
    }
    Ok(())
}

/// Collects what matches in `folder` and `depth - 1` levels below; `name` is how the pattern names the folder.
fn walk_matches(
    folder: &Path,
    name: &Path,
    depth: usize,
    is_match: &dyn Fn(&Path) -> bool,
    matches: &mut Vec<PathBuf>,
) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("read", folder)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(Error::io("read", folder))?;
        let path = name.join(entry.file_name());
        // Links to folders are not followed, so no walk is endless.
        if depth > 1 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk_matches(&entry.path(), &path, depth - 1, is_match, matches)?;
        }
        if is_match(&path) {
            matches.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "a,1.2.3.4\n").unwrap();
        }
        folder
    }

    fn resolve(folder: &Path, paths: &[&str]) -> Result<Vec<String>> {
        let full: Vec<String> = paths
            .iter()
            .map(|path| if *path == "-" { "-".into() } else { folder.join(path).display().to_string() })
            .collect();
        let prefix = format!("{}/", folder.display());
        Ok(resolve_inputs(&full)?.iter().map(|input| input.to_string().replace(&prefix, "")).collect())
    }

    #[test]
    fn files_folders_globs_and_stdin_are_resolved_in_order() {
        let folder =
            folder_with(&["b.csv", "a.csv", "sub/c.csv", "sub/.hidden", ".git/x", "z[1].csv", "e/x"]);
        let cases: [(&[&str], &[&str]); 6] = [
            (&["b.csv", "-", "a.csv"], &["b.csv", "stdin", "a.csv"]),
            (&[""], &["a.csv", "b.csv", "e/x", "sub/c.csv", "z[1].csv"]),
            (&["sub"], &["sub/c.csv"]),
            (&["[ab].csv"], &["a.csv", "b.csv"]),
            (&["z[1].csv"], &["z[1].csv"]),
            (&["s*", "?"], &["sub/c.csv", "e/x"]),
        ];
        for (paths, wanted) in cases {
            assert_eq!(resolve(folder.path(), paths).unwrap(), wanted, "{paths:?}");
        }
        assert_eq!(resolve(folder.path(), &["**/*.csv"]).unwrap().len(), 4);
    }

    #[test]
    fn what_programs_write_beside_data_is_passed_over_and_counted() {
        let folder = folder_with(&[
            "t/_SUCCESS",
            "t/_committed_1",
            "t/.part.crc",
            "t/_delta_log/0.json",
            "t/part.csv",
            "t/r.csv.metadata",
            "t/_x=1/part.csv",
        ]);
        let found = find_inputs(&[folder.path().join("t")]).unwrap();
        let files = ["t/_x=1/part.csv", "t/part.csv"].map(|file| Input::File(folder.path().join(file)));
        assert_eq!(found.inputs, files);
        assert_eq!((found.num_passed_over, found.delta_tables), (5, vec![folder.path().join("t")]));
        assert_eq!(resolve(folder.path(), &["t/_SUCCESS"]).unwrap(), ["t/_SUCCESS"], "what is named is read");
    }

    #[test]
    fn a_name_that_is_not_utf8_beside_a_glob_is_no_panic() {
        use std::os::unix::ffi::OsStrExt;
        let folder = folder_with(&["a.csv", "sub/b.csv"]);
        let name = std::ffi::OsStr::from_bytes(b"bad\xff");
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::write(folder.path().join("sub").join(name), "x").unwrap();
        assert_eq!(resolve(folder.path(), &["*.csv"]).unwrap(), ["a.csv"]);
        assert_eq!(resolve(folder.path(), &["**/*.csv"]).unwrap(), ["a.csv", "sub/b.csv"]);
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        let folder = folder_with(&["sub/.hidden"]);
        assert!(matches!(
            resolve(folder.path(), &["none.csv"]),
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound
        ));
        for path in ["sub", "*.csv"] {
            assert!(matches!(resolve(folder.path(), &[path]), Err(Error::Data { .. })), "{path}");
        }
        for paths in [&["a[b"][..], &["-", "-"]] {
            assert!(matches!(resolve(folder.path(), paths), Err(Error::Config { .. })), "{paths:?}");
        }
    }

    #[test]
    fn a_link_to_a_folder_above_is_not_walked_for_ever() {
        let folder = folder_with(&["sub/a.csv"]);
        std::os::unix::fs::symlink(folder.path(), folder.path().join("sub/up")).unwrap();
        assert_eq!(resolve(folder.path(), &[""]).unwrap(), ["sub/a.csv"]);
    }
}
