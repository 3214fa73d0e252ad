//! The checkpoints of a run's folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::identity::RunIdentity;
use super::stored::Checkpoint;
use crate::{At, Error, Result};

/// Whether a run is resumed from a checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resume {
    /// From the last good one if there is one; a run that is complete is left alone.
    #[default]
    Auto,
    /// It begins again.
    Never,
    /// From the last good one, and it is an error if there is none.
    Must,
}

impl FromStr for Resume {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Resume::Auto),
            "never" => Ok(Resume::Never),
            "must" => Ok(Resume::Must),
            _ => {
                let what = format!("no such choice `{text}`");
                Err(Error::config(At::option("resume"), what, "valid choices: auto, never, must"))
            }
        }
    }
}

/// The checkpoints of a folder by their steps, ascending. A folder that is not there has none.
///
/// # Errors
///
/// [`Error::Io`].
pub fn list(folder: &Path) -> Result<Vec<(usize, PathBuf)>> {
    let mut found = Vec::new();
    for entry in entries(folder)? {
        if let Some(num_steps) = num_steps_of(&entry) {
            found.push((num_steps, folder.join(entry)));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Finds the checkpoint from which a run is resumed, and removes those from which it is not: past that one, or all where
/// there is none.
///
/// # Errors
///
/// As [`last_good`], and [`Error::Config`] where there is none and [`Resume::Must`] asks for one.
pub fn find(
    folder: &Path,
    resume: Resume,
    run: &RunIdentity<'_>,
    on_damaged: &mut dyn FnMut(&Path, &Error),
) -> Result<Option<Checkpoint>> {
    let found = match resume {
        Resume::Never => None,
        Resume::Auto | Resume::Must => last_good(folder, run, on_damaged)?,
    };
    if found.is_none() && resume == Resume::Must {
        return Err(Error::config(
            At::option_of("resume", "must"),
            format!("there is no good checkpoint in {}", folder.display()),
            "begin again: leave it out, or add the option overwrite",
        ));
    }
    remove_after(folder, found.as_ref().map(|checkpoint| checkpoint.manifest().num_steps))?;
    Ok(found)
}

/// The name of the folder of a checkpoint.
pub(super) fn folder_name(num_steps: usize) -> String {
    format!("step-{num_steps:010}")
}

fn num_steps_of(name: &str) -> Option<usize> {
    let num_steps = name.strip_prefix("step-")?.parse().ok()?;
    (folder_name(num_steps) == name).then_some(num_steps)
}

fn entries(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("read", folder)(error)),
    };
    let name =
        |entry: io::Result<fs::DirEntry>| entry.map(|entry| entry.file_name().to_string_lossy().into_owned());
    entries.map(name).collect::<io::Result<_>>().map_err(Error::io("read", folder))
}

/// Removes the checkpoints past `num_steps`, and what a run that was killed left half written or half removed.
fn remove_after(folder: &Path, num_steps: Option<usize>) -> Result<()> {
    for name in entries(folder)? {
        let is_left_over = name.starts_with(".step-") && (name.ends_with(".tmp") || name.ends_with(".old"));
        let is_past = num_steps_of(&name).is_some_and(|found| num_steps.is_none_or(|last| found > last));
        if is_left_over || is_past {
            let path = folder.join(name);
            fs::remove_dir_all(&path).map_err(Error::io("remove", path))?;
        }
    }
    Ok(())
}

/// The last good checkpoint of a folder for a run. `on_damaged` is called with each that is damaged, and the one before
/// it is tried.
///
/// # Errors
///
/// [`Error::Config`] where the run that left it trains on other events, by another configuration or from another model
/// than this one: with each difference. [`Error::Io`] where the folder cannot be read.
pub fn last_good(
    folder: &Path,
    run: &RunIdentity<'_>,
    on_damaged: &mut dyn FnMut(&Path, &Error),
) -> Result<Option<Checkpoint>> {
    for (_, path) in list(folder)?.into_iter().rev() {
        match Checkpoint::open(&path) {
            Ok(checkpoint) => {
                run.check(checkpoint.path(), checkpoint.manifest(), checkpoint.config())?;
                return Ok(Some(checkpoint));
            }
            Err(error) if is_damage(&error) => on_damaged(&path, &error),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Another version's checkpoint is none that is damaged: nobody wants it passed over and removed.
fn is_damage(error: &Error) -> bool {
    match error {
        Error::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
        Error::Data { .. } => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_known_by_their_names_and_left_overs_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert!(list(&path.join("not there")).unwrap().is_empty());
        for name in [
            "step-0000000010",
            "step-0000000002",
            "step-12345678901",
            "step-3",
            "step-000000001x",
            ".step-0000000004.77.tmp",
            ".step-0000000001.77.old",
            "mine",
        ] {
            fs::create_dir(path.join(name)).unwrap();
        }
        let steps = || list(path).unwrap().into_iter().map(|(steps, _)| steps).collect::<Vec<_>>();
        assert_eq!(steps(), [2, 10, 12_345_678_901]);
        remove_after(path, Some(10)).unwrap();
        assert_eq!(steps(), [2, 10]);
        remove_after(path, None).unwrap();
        let mut names = entries(path).unwrap();
        names.sort();
        assert_eq!(names, ["mine", "step-000000001x", "step-3"], "what is not ours stays");
    }
}
