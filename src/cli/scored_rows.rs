//! What `score` writes: one writer per format behind one trait.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, Float32Builder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use clap::ValueEnum;
use ipsight::event::Address;
use ipsight::thresholds::Verdict;
use ipsight::{Error, OutputFile, Result, anomaly_score};
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;

/// What `score` can write.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    Csv,
    Jsonl,
    Parquet,
}

const COLUMNS: [&str; 5] = ["entity", "ip", "dot_product", "anomaly_score", "entity_seen"];

/// The columns after those, where the model folder has thresholds.
const VERDICT_COLUMNS: [&str; 3] = ["percentile", "probability", "decision"];

fn columns(has_verdicts: bool) -> impl Iterator<Item = &'static str> {
    COLUMNS.into_iter().chain(VERDICT_COLUMNS.into_iter().filter(move |_| has_verdicts))
}

/// Rows of a Parquet row group.
const ROWS_PER_GROUP: usize = 1 << 17;

/// One scored event.
pub struct ScoredRow<'a> {
    pub entity: &'a [u8],
    pub ip: Address,
    pub dot_product: f32,
    pub entity_seen: bool,
    /// For all rows or for none.
    pub verdict: Option<Verdict<'a>>,
}

/// Takes scored rows in order.
pub trait ScoredRows {
    fn write(&mut self, row: &ScoredRow<'_>) -> Result<()>;

    /// Hands what has been written to whoever reads it; in a format that has rows in groups, to the group.
    fn flush(&mut self) -> Result<()>;

    /// Writes what is left and, for a file, puts it in its place.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// A writer of `format` to a file, or to stdout for `-`; of rows with verdicts, or of rows without.
pub fn create(path: &Path, format: OutputFormat, has_verdicts: bool) -> Result<Box<dyn ScoredRows>> {
    let out = Destination::create(path)?;
    Ok(match format {
        OutputFormat::Csv => Box::new(Csv::new(out, has_verdicts)?),
        OutputFormat::Jsonl => Box::new(JsonLines { out }),
        OutputFormat::Parquet => Box::new(Parquet::new(out, has_verdicts)?),
    })
}

/// A file that appears when it is whole, or stdout.
enum Destination {
    File(OutputFile),
    Stdout(io::BufWriter<io::Stdout>),
}

impl Destination {
    fn create(path: &Path) -> Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Stdout(io::BufWriter::with_capacity(1 << 16, io::stdout())));
        }
        Ok(Self::File(OutputFile::create(path)?))
    }

    fn path(&self) -> PathBuf {
        match self {
            Self::File(file) => file.path().to_path_buf(),
            Self::Stdout(_) => "stdout".into(),
        }
    }

    fn finish(self) -> Result<()> {
        match self {
            Self::File(file) => file.commit(),
            Self::Stdout(mut stdout) => stdout.flush().map_err(Error::io("write", "stdout")),
        }
    }
}

impl Write for Destination {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Stdout(stdout) => stdout.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            Self::Stdout(stdout) => stdout.flush(),
        }
    }
}

/// With a header; entities as the bytes that they are, quoted where needed.
struct Csv {
    writer: csv::Writer<Destination>,
    path: PathBuf,
}

impl Csv {
    fn new(out: Destination, has_verdicts: bool) -> Result<Self> {
        let path = out.path();
        let mut writer = csv::Writer::from_writer(out);
        writer.write_record(columns(has_verdicts)).map_err(|error| csv_error(error, &path))?;
        Ok(Self { writer, path })
    }
}

impl ScoredRows for Csv {
    fn write(&mut self, row: &ScoredRow<'_>) -> Result<()> {
        let ip = row.ip.to_string();
        let [dot_product, anomaly] = [row.dot_product, anomaly_score(row.dot_product)].map(|f| f.to_string());
        let seen: &[u8] = if row.entity_seen { b"true" } else { b"false" };
        let fields = [row.entity, ip.as_bytes(), dot_product.as_bytes(), anomaly.as_bytes(), seen];
        let failed = |error| csv_error(error, &self.path);
        let Some(Verdict { percentile, probability, decision }) = row.verdict else {
            return self.writer.write_record(fields).map_err(failed);
        };
        let [percentile, probability] = [percentile, probability].map(|f| f.to_string());
        let verdict = [percentile.as_bytes(), probability.as_bytes(), decision.as_bytes()];
        self.writer.write_record(fields.into_iter().chain(verdict)).map_err(failed)
    }

    fn flush(&mut self) -> Result<()> {
        self.writer.flush().map_err(Error::io("write", &self.path))
    }

    fn finish(self: Box<Self>) -> Result<()> {
        let path = self.path;
        let out = self.writer.into_inner().map_err(|error| Error::io("write", path)(error.into_error()))?;
        out.finish()
    }
}

fn csv_error(error: csv::Error, path: &Path) -> Error {
    match error.into_kind() {
        csv::ErrorKind::Io(source) => Error::io("write", path)(source),
        other => Error::io("write", path)(io::Error::other(format!("{other:?}"))),
    }
}

/// One object a line; bytes of an entity that are not UTF-8 become U+FFFD, as JSON has no others.
struct JsonLines {
    out: Destination,
}

impl ScoredRows for JsonLines {
    fn write(&mut self, row: &ScoredRow<'_>) -> Result<()> {
        let mut object = serde_json::json!({
            "entity": String::from_utf8_lossy(row.entity),
            "ip": row.ip,
            "dot_product": row.dot_product,
            "anomaly_score": anomaly_score(row.dot_product),
            "entity_seen": row.entity_seen,
        });
        if let Some(Verdict { percentile, probability, decision }) = row.verdict {
            object["percentile"] = percentile.into();
            object["probability"] = probability.into();
            object["decision"] = decision.into();
        }
        let path = self.out.path();
        writeln!(self.out, "{object}").map_err(Error::io("write", path))
    }

    fn flush(&mut self) -> Result<()> {
        let path = self.out.path();
        self.out.flush().map_err(Error::io("write", path))
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.out.finish()
    }
}

/// Columns `entity` and `ip` as strings, the scores as 32-bit floats. Entities as in [`JsonLines`].
struct Parquet {
    writer: ArrowWriter<Destination>,
    path: PathBuf,
    columns: Columns,
}

struct Columns {
    entity: StringBuilder,
    ip: StringBuilder,
    dot_product: Float32Builder,
    anomaly_score: Float32Builder,
    entity_seen: BooleanBuilder,
    verdicts: Option<VerdictColumns>,
    num_rows: usize,
}

#[derive(Default)]
struct VerdictColumns {
    percentile: Float32Builder,
    probability: Float32Builder,
    decision: StringBuilder,
}

impl Columns {
    fn new(has_verdicts: bool) -> Self {
        Columns {
            entity: StringBuilder::default(),
            ip: StringBuilder::default(),
            dot_product: Float32Builder::default(),
            anomaly_score: Float32Builder::default(),
            entity_seen: BooleanBuilder::default(),
            verdicts: has_verdicts.then(VerdictColumns::default),
            num_rows: 0,
        }
    }

    fn take(&mut self) -> RecordBatch {
        let mut arrays: Vec<ArrayRef> = vec![
            Arc::new(self.entity.finish()),
            Arc::new(self.ip.finish()),
            Arc::new(self.dot_product.finish()),
            Arc::new(self.anomaly_score.finish()),
            Arc::new(self.entity_seen.finish()),
        ];
        if let Some(verdicts) = &mut self.verdicts {
            arrays.push(Arc::new(verdicts.percentile.finish()));
            arrays.push(Arc::new(verdicts.probability.finish()));
            arrays.push(Arc::new(verdicts.decision.finish()));
        }
        self.num_rows = 0;
        let names = columns(self.verdicts.is_some());
        let fields = names.zip(arrays).map(|(name, array)| (name, array, false));
        RecordBatch::try_from_iter_with_nullable(fields).expect("columns of one length")
    }
}

impl Parquet {
    fn new(out: Destination, has_verdicts: bool) -> Result<Self> {
        let path = out.path();
        let mut columns = Columns::new(has_verdicts);
        let schema = columns.take().schema();
        let writer = ArrowWriter::try_new(out, schema, None).map_err(|error| parquet_error(error, &path))?;
        Ok(Self { writer, path, columns })
    }

    fn write_group(&mut self) -> Result<()> {
        let batch = self.columns.take();
        self.writer.write(&batch).map_err(|error| parquet_error(error, &self.path))
    }
}

impl ScoredRows for Parquet {
    fn write(&mut self, row: &ScoredRow<'_>) -> Result<()> {
        let columns = &mut self.columns;
        columns.entity.append_value(String::from_utf8_lossy(row.entity));
        columns.ip.append_value(row.ip.to_string());
        columns.dot_product.append_value(row.dot_product);
        columns.anomaly_score.append_value(anomaly_score(row.dot_product));
        columns.entity_seen.append_value(row.entity_seen);
        if let Some((columns, verdict)) = columns.verdicts.as_mut().zip(row.verdict) {
            columns.percentile.append_value(verdict.percentile);
            columns.probability.append_value(verdict.probability);
            columns.decision.append_value(verdict.decision);
        }
        columns.num_rows += 1;
        if columns.num_rows == ROWS_PER_GROUP { self.write_group() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.write_group()?;
        let Self { writer, path, .. } = *self;
        writer.into_inner().map_err(|error| parquet_error(error, &path))?.finish()
    }
}

fn parquet_error(error: ParquetError, path: &Path) -> Error {
    let source = match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(source) => *source,
            Err(other) => io::Error::other(other),
        },
        other => io::Error::other(other),
    };
    Error::io("write", path)(source)
}
