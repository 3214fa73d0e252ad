//! Generated logins as files in the format of the reference's example notebook, and the truth about them.

use std::io::{self, Write};
use std::iter;
use std::path::Path;

use rayon::prelude::*;

use super::attacks::{LabelledLogin, LabelledTest};
use super::generate::GeneratedLogins;
use super::login::{Login, USER_PREFIX};
use crate::durable::create_folder;
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
    create_folder(folder)?;
    let unlabelled =
        [("train.csv", &logins.train), ("validation.csv", &logins.validation), ("test.csv", &logins.test)];
    let mut written = Vec::new();
    for (name, logins) in unlabelled {
        written.push(write_file(&folder.join(name), "", logins, push_login)?);
    }
    written.push(write_file(&folder.join("test_labelled.csv"), "", labelled.rows(), push_labelled)?);
    let push_truth = |out: &mut Vec<u8>, row: &LabelledLogin| push_truth(out, row, labelled);
    written.push(write_file(&folder.join("truth.csv"), &header(labelled), labelled.rows(), push_truth)?);
    written.into_iter().try_for_each(OutputFile::commit)
}

/// Rows that one thread formats at a time.
const ROWS_PER_BLOCK: usize = 4096;

/// Blocks that are in memory at a time.
const BLOCKS_PER_TURN: usize = 16;

/// Writes a line for each of `rows`; `push_row` appends it without its end.
fn write_file<T: Sync>(
    path: &Path,
    header: &str,
    rows: &[T],
    push_row: impl Fn(&mut Vec<u8>, &T) + Sync,
) -> Result<OutputFile> {
    let block = |rows: &[T]| {
        let mut text = Vec::with_capacity(rows.len() * 32);
        for row in rows {
            push_row(&mut text, row);
            text.push(b'\n');
        }
        text
    };
    let mut file = OutputFile::create(path)?;
    let write = |file: &mut OutputFile| -> io::Result<()> {
        file.write_all(header.as_bytes())?;
        for turn in rows.chunks(ROWS_PER_BLOCK * BLOCKS_PER_TURN) {
            let blocks: Vec<_> = turn.par_chunks(ROWS_PER_BLOCK).map(block).collect();
            blocks.iter().try_for_each(|block| file.write_all(block))?;
        }
        Ok(())
    };
    write(&mut file).map_err(Error::io("write", path))?;
    Ok(file)
}

fn push_login(out: &mut Vec<u8>, login: &Login) {
    out.extend_from_slice(USER_PREFIX.as_bytes());
    push_integer(out, login.user.into());
    match login.address.ipv4() {
        Some(ip) => {
            for (octet, before) in ip.to_be_bytes().into_iter().zip(*b",...") {
                out.push(before);
                push_integer(out, octet.into());
            }
        }
        None => out.extend_from_slice(format!(",{}", login.address).as_bytes()),
    }
}

fn push_labelled(out: &mut Vec<u8>, row: &LabelledLogin) {
    push_login(out, &row.login);
    out.extend_from_slice(if row.kind.is_some() { b",1," } else { b",0," });
    out.extend_from_slice(row.kind_name().as_bytes());
}

fn header(labelled: &LabelledTest) -> String {
    let kinds = labelled.mix().fractions().iter().map(|(kind, _)| kind.name());
    let by_kind: String = kinds.map(|name| format!(",log_likelihood_ratio_{name}")).collect();
    format!("entity,ip,label,kind,log_likelihood_ratio{by_kind}\n")
}

fn push_truth(out: &mut Vec<u8>, row: &LabelledLogin, labelled: &LabelledTest) {
    let densities = labelled.densities(row);
    push_labelled(out, row);
    let by_kind = labelled.mix().fractions().iter().map(|&(kind, _)| densities.log_likelihood_ratio(kind));
    for ratio in iter::once(labelled.mix().log_likelihood_ratio(&densities)).chain(by_kind) {
        out.push(b',');
        push_fixed(out, ratio);
    }
}

/// Appends a number in decimal. Formatting millions of them by `write!` takes longer than generating them.
fn push_integer(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut begin = digits.len();
    loop {
        begin -= 1;
        digits[begin] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[begin..]);
}

/// Appends a number below 1e9 in size with six decimals, or `inf` or `-inf`.
fn push_fixed(out: &mut Vec<u8>, number: f64) {
    if number < 0.0 {
        out.push(b'-');
    }
    if number.is_infinite() {
        out.extend_from_slice(b"inf");
        return;
    }
    let millionths = (number.abs() * 1e6).round() as u64;
    push_integer(out, millionths / 1_000_000);
    out.push(b'.');
    // A leading 1 keeps the zeros; it becomes the first of the seven digits and is taken out again.
    let begin = out.len();
    push_integer(out, 1_000_000 + millionths % 1_000_000);
    out.remove(begin);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Address;

    #[test]
    fn numbers_are_written_as_the_standard_library_writes_them() {
        let text = |push: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            push(&mut out);
            String::from_utf8(out).unwrap()
        };
        for number in [0, 7, 10, 255, 4_294_967_295, u64::MAX] {
            assert_eq!(text(&|out| push_integer(out, number)), number.to_string());
        }
        for number in [0.0, 1.0, 0.000_001, 0.1, 9.999_999_7, 745.133_219, 12.000_34, f64::INFINITY] {
            for number in [number, -number] {
                let expected = format!("{number:.6}").replace("-0.000000", "0.000000");
                assert_eq!(text(&|out| push_fixed(out, number)), expected);
            }
        }
        for bits in [0x0A00_FF01, 0x2001_0DB8_0001_0002] {
            let login = Login { user: 1203, address: Address::from_bits(bits), seconds: 0 };
            assert_eq!(text(&|out| push_login(out, &login)), format!("user_1203,{}", login.address));
        }
    }
}
