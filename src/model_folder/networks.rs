//! Replaces the table of networks of a model folder.

use std::fs;
use std::path::Path;

use super::checksummed_json;
use super::checksums::file_entry;
use super::held::HeldFolder;
use super::layout::{MANIFEST, NETWORKS};
use super::read::read_with_detector;
use crate::durable::{exchange, sync};
use crate::history::{Detector, OwnerChanges, Owners};
use crate::networks::{Networks, OwnerLevel};
use crate::thresholds::THRESHOLDS;
use crate::{Error, Result};

/// Replaces the table of networks of a model folder and counts its history's accounts by the new one. The head stays. The new
/// folder is made beside the old one, of links to the files that stay, and takes its place when it is whole.
///
/// # Errors
///
/// [`Error::Data`] where the model is damaged, was trained without a table, or with a level that the new table does not
/// have; [`Error::Io`] where writing fails.
pub fn replace_networks(folder: &Path, networks: Networks) -> Result<OwnerChanges> {
    // An evaluation that is writing its thresholds ends first.
    let _held = HeldFolder::open(folder)?;
    let (mut manifest, _, detector) = read_with_detector(folder)?;
    let at = folder.display().to_string();
    let Some(Detector { history, owners: Some(before), .. }) = detector else {
        let what =
            "the model was trained without a table of networks, so that its head has no weights for one";
        return Err(Error::data(at, what, "train again with --networks"));
    };
    let levels = OwnerLevel::ALL.iter().zip(before.networks.num_groups()).zip(networks.num_groups());
    for ((level, before), new) in levels {
        if before > 0 && new == 0 {
            let what =
                format!("the model knows the {} of addresses, and the new table has none", level.noun());
            return Err(Error::data(at, what, "give a table that has it, or train again with this one"));
        }
    }
    let new = Owners::count(&history, networks);
    let changes = before.changes(&history, &new);
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let mut write = || {
        fs::create_dir_all(&temporary).map_err(Error::io("create", &temporary))?;
        let others = manifest.files.keys().map(String::as_str).filter(|name| *name != NETWORKS);
        for name in others.chain([THRESHOLDS]) {
            let (from, to) = (folder.join(name), temporary.join(name));
            // A file system without links gets copies.
            if from.exists() && fs::hard_link(&from, &to).is_err() {
                fs::copy(&from, &to).map_err(Error::io("copy", &from))?;
            }
        }
        let path = temporary.join(NETWORKS);
        fs::write(&path, new.to_bytes()).map_err(Error::io("write", &path))?;
        manifest.files.insert(NETWORKS.into(), file_entry(&path)?);
        let manifest_path = temporary.join(MANIFEST);
        fs::write(&manifest_path, checksummed_json::to_text(&manifest))
            .map_err(Error::io("write", &manifest_path))?;
        [&path, &manifest_path, &temporary].into_iter().try_for_each(|path| sync(path))?;
        exchange(&temporary, folder)
    };
    let result = write();
    if result.is_err() {
        // The error that matters is the first; a leftover is named by it.
        let _ = fs::remove_dir_all(&temporary);
    }
    result.map(|()| changes)
}
