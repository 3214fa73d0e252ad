//! The true likelihood ratios of generated events.

use std::fs::File;
use std::path::{Path, PathBuf};

use ipsight::data::Row;
use ipsight::event::AddressFamilies;
use ipsight::{Error, Result, nearest};

const HELP: &str = "give the truth that was generated with the data: a row for each event, in the same order";

const RATIO: &str = "log_likelihood_ratio";

/// A CSV file with the columns `label`, `log_likelihood_ratio` and any number of `log_likelihood_ratio_KIND`, read
/// row by row beside the events. Where it has a column `ip`, that is compared too.
pub struct Truth {
    path: PathBuf,
    reader: csv::Reader<File>,
    record: csv::ByteRecord,
    label: usize,
    /// The columns of the ratios: that against all attacks, then those against each of `kinds`.
    ratio_columns: Vec<usize>,
    ratios: Vec<f32>,
    kinds: Vec<String>,
    ip: Option<usize>,
}

impl Truth {
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io("read", path))?;
        let mut reader = csv::Reader::from_reader(file);
        let at = path.display().to_string();
        let header = reader.byte_headers().map_err(|error| csv_error(error, path))?.clone();
        let names: Vec<String> =
            header.iter().map(|name| String::from_utf8_lossy(name.trim_ascii()).into_owned()).collect();
        let find = |wanted: &str| {
            names.iter().position(|name| name == wanted).ok_or_else(|| {
                let near = nearest(wanted, names.iter().map(String::as_str));
                let help =
                    near.map_or(HELP.into(), |near| format!("did you mean its column `{near}`? {HELP}"));
                Error::data(&at, format!("there is no column `{wanted}`"), help)
            })
        };
        let label = find("label")?;
        let mut ratio_columns = vec![find(RATIO)?];
        let mut kinds = Vec::new();
        for (column, name) in names.iter().enumerate() {
            if let Some(kind) = name.strip_prefix(RATIO).and_then(|rest| rest.strip_prefix('_')) {
                ratio_columns.push(column);
                kinds.push(kind.to_string());
            }
        }
        let ip = names.iter().position(|name| name == "ip");
        let (record, ratios) = (csv::ByteRecord::new(), Vec::new());
        Ok(Truth { path: path.into(), reader, record, label, ratio_columns, ratios, kinds, ip })
    }

    /// The kinds of attacks against which ratios are known.
    pub fn kinds(&self) -> &[String] {
        &self.kinds
    }

    /// The log likelihood ratios of the next event, which must be `row`, high for attacks: against all attacks,
    /// and against each kind.
    pub fn next_of(&mut self, row: &Row<'_>, addresses: AddressFamilies) -> Result<&[f32]> {
        if !self.read()? {
            return Err(self.error("ends before the events do".into()));
        }
        let field = |index: usize| self.record.get(index).unwrap_or_default().trim_ascii();
        let is_attack = match field(self.label) {
            b"1" | b"true" => true,
            b"0" | b"false" => false,
            other => return Err(self.error(format!("`{}` is no label", String::from_utf8_lossy(other)))),
        };
        if row.label.is_some_and(|label| label != is_attack) {
            return Err(self.error("its label is not that of the event".into()));
        }
        if self.ip.is_some_and(|ip| addresses.parse(field(ip)) != Some(row.address)) {
            return Err(self.error("its address is not that of the event".into()));
        }
        self.ratios.clear();
        for column in &self.ratio_columns {
            let text = String::from_utf8_lossy(field(*column));
            match text.parse::<f32>() {
                Ok(ratio) if !ratio.is_nan() => self.ratios.push(ratio),
                _ => return Err(self.error(format!("`{text}` is no log likelihood ratio"))),
            }
        }
        Ok(&self.ratios)
    }

    /// Refuses rows that belong to no event.
    pub fn finish(mut self) -> Result<()> {
        if self.read()? { Err(self.error("there are more rows than events".into())) } else { Ok(()) }
    }

    fn read(&mut self) -> Result<bool> {
        self.reader.read_byte_record(&mut self.record).map_err(|error| csv_error(error, &self.path))
    }

    fn error(&self, what: String) -> Error {
        let line = self.record.position().map_or(0, |position| position.line());
        Error::data(format!("{}:{line}", self.path.display()), what, HELP)
    }
}

fn csv_error(error: csv::Error, path: &Path) -> Error {
    let line = error.position().map_or(0, |position| position.line());
    match error.into_kind() {
        csv::ErrorKind::Io(source) => Error::io("read", path)(source),
        other => {
            let help = "every row has as many columns as the first";
            Error::data(format!("{}:{line}", path.display()), format!("{other:?}"), help)
        }
    }
}
