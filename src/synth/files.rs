//! Generated logins as files in the format of the reference's example notebook, and the truth about them.

use std::fs;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::Path;

use rayon::prelude::*;

use super::attacks::{LabelledLogin, LabelledTest};
use super::{GeneratedLogins, Login};
use crate::{Error, OutputFile, Result};

/// Writes the logins as CSV into `folder`, which is created if it is missing.
///
/// Without headers: `train.csv`, `validation.csv` and `test.csv` hold `user,ip`; `test_labelled.csv` holds
/// `user,ip,label,kind`, the test logins (label 0, kind `normal`) and the attacks (label 1, the name of the
/// [`super::AttackKind`]) in random order.
///
/// `truth.csv` has the rows of `test_labelled.csv` in the same order and a header:
/// `entity,ip,label,kind,log_likelihood_ratio` and, for each kind of attack in the mix,
/// `log_likelihood_ratio_KIND`. The first ratio is that of [`super::AttackMix::log_likelihood_ratio`]: with it
/// as the score, the ROC against all attacks is the best there is. The others are each that of
/// [`super::Densities::log_likelihood_ratio`]: the best score where all attacks are of this kind, so that the
/// ceiling for one kind is the ROC of its column over the normal rows and the rows of this kind. All are
/// natural logarithms, high = anomalous, with six decimals, or `inf` or `-inf`.
///
/// Files of these names are replaced, and only after all of them have been written.
///
/// # Errors
/// [`Error::Io`] with the path.
pub fn write_files(logins: &GeneratedLogins, labelled: &LabelledTest, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let unlabelled =
        [("train.csv", &logins.train), ("validation.csv", &logins.validation), ("test.csv", &logins.test)];
    let mut written = Vec::new();
    for (name, logins) in unlabelled {
        written.push(write_file(&folder.join(name), "", logins, write_login)?);
    }
    written.push(write_file(&folder.join("test_labelled.csv"), "", labelled.rows(), write_labelled)?);
    let write_truth = |out: &mut Vec<u8>, row: &LabelledLogin| write_truth(out, row, labelled);
    written.push(write_file(&folder.join("truth.csv"), &header(labelled), labelled.rows(), write_truth)?);
    written.into_iter().try_for_each(OutputFile::commit)
}

/// Rows that one thread writes at a time.
const ROWS_PER_BLOCK: usize = 4096;

/// Blocks that are in memory at a time.
const BLOCKS_PER_TURN: usize = 32;

/// Writes a line for each of `rows`, which `write_row` gives without its end.
fn write_file<T: Sync>(
    path: &Path,
    header: &str,
    rows: &[T],
    write_row: impl Fn(&mut Vec<u8>, &T) -> io::Result<()> + Sync,
) -> Result<OutputFile> {
    let block = |rows: &[T]| -> io::Result<Vec<u8>> {
        let mut text = Vec::with_capacity(rows.len() * 32);
        for row in rows {
            write_row(&mut text, row)?;
            text.push(b'\n');
        }
        Ok(text)
    };
    let mut file = OutputFile::create(path)?;
    let write = |file: &mut OutputFile| -> io::Result<()> {
        file.write_all(header.as_bytes())?;
        for turn in rows.chunks(ROWS_PER_BLOCK * BLOCKS_PER_TURN) {
            let blocks: Vec<_> = turn.par_chunks(ROWS_PER_BLOCK).map(block).collect();
            blocks.into_iter().try_for_each(|block| file.write_all(&block?))?;
        }
        Ok(())
    };
    write(&mut file).map_err(Error::io("write", path))?;
    Ok(file)
}

fn write_login(out: &mut Vec<u8>, login: &Login) -> io::Result<()> {
    write!(out, "{},{}", super::user_name(login.user), Ipv4Addr::from(login.ip))
}

fn write_labelled(out: &mut Vec<u8>, row: &LabelledLogin) -> io::Result<()> {
    write_login(out, &row.login)?;
    write!(out, ",{},{}", u8::from(row.kind.is_some()), row.kind_name())
}

fn header(labelled: &LabelledTest) -> String {
    let kinds = labelled.mix().fractions().iter().map(|(kind, _)| kind.name());
    let by_kind: String = kinds.map(|name| format!(",log_likelihood_ratio_{name}")).collect();
    format!("entity,ip,label,kind,log_likelihood_ratio{by_kind}\n")
}

fn write_truth(out: &mut Vec<u8>, row: &LabelledLogin, labelled: &LabelledTest) -> io::Result<()> {
    let densities = labelled.densities(row);
    write_labelled(out, row)?;
    write!(out, ",{:.6}", labelled.mix().log_likelihood_ratio(&densities))?;
    for &(kind, _) in labelled.mix().fractions() {
        write!(out, ",{:.6}", densities.log_likelihood_ratio(kind))?;
    }
    Ok(())
}
