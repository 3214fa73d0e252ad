//! Generated logins as files in the format of the reference's example notebook.

use std::fs;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::Path;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::{GeneratedLogins, Login};
use crate::{Error, OutputFile, Result};

/// Writes the logins as CSV without headers into `folder`, which is created if it is missing.
///
/// `train.csv`, `validation.csv` and `test.csv` hold `user,ip`; `test_labelled.csv` holds `user,ip,label`,
/// the test logins (label 0) and the attacks (label 1) in random order. Files of these names are replaced,
/// and only after all four have been written.
///
/// # Errors
/// [`Error::Io`] with the path.
pub fn write_files(logins: &GeneratedLogins, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let unlabelled = |logins: &[Login]| logins.iter().map(|&login| (login, None)).collect::<Vec<_>>();
    let files = [
        ("train.csv", unlabelled(&logins.train)),
        ("validation.csv", unlabelled(&logins.validation)),
        ("test.csv", unlabelled(&logins.test)),
        ("test_labelled.csv", labelled(logins)),
    ];
    let mut written = Vec::new();
    for (name, rows) in &files {
        let mut file = OutputFile::create(&folder.join(name))?;
        write_rows(&mut file, rows).map_err(Error::io("write", file.path()))?;
        written.push(file);
    }
    written.into_iter().try_for_each(OutputFile::commit)
}

type Row = (Login, Option<u8>);

fn labelled(logins: &GeneratedLogins) -> Vec<Row> {
    let legitimate = logins.test.iter().map(|&login| (login, Some(0)));
    let mut rows: Vec<Row> =
        legitimate.chain(logins.attacks.iter().map(|&attack| (attack, Some(1)))).collect();
    // Any order that does not tell the label will do; a fixed one makes the file reproducible.
    rows.shuffle(&mut ChaCha8Rng::seed_from_u64(0));
    rows
}

fn write_rows(writer: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    for (login, label) in rows {
        write!(writer, "{},{}", super::user_name(login.user), Ipv4Addr::from(login.ip))?;
        if let Some(label) = label {
            write!(writer, ",{label}")?;
        }
        writeln!(writer)?;
    }
    Ok(())
}
