//! The folders and files through which Amazon SageMaker and a training container exchange a job and its results.
//!
//! Contract: <https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html>.
//! `ROOT` is `/opt/ml` there.
//!
//! | path below ROOT | what |
//! |---|---|
//! | `input/config/hyperparameters.json` | a map of names to text |
//! | `input/config/inputdataconfig.json` | how each channel is given |
//! | `input/config/resourceconfig.json` | this machine and all others |
//! | `input/data/CHANNEL/` | the events of `train` and, where there is one, `validation` |
//! | `model/` | the model folder's files |
//! | `models/NAME/model/` | models of a multi-model endpoint |
//! | `output/data/` | everything else that is to be kept |
//! | `output/failure` | why it failed |
//! | `checkpoints/` | what a job that was interrupted resumes from |

mod channel;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

pub use self::channel::Channel;
use self::channel::ChannelConfig;
use crate::{Config, Error, Result};

/// Characters of the failure file that are shown.
const FAILURE_CHARS: usize = 1024;

/// Of these, what the failure itself may take, so that there is room for the help.
const FAILURE_CHARS_OF_ERROR: usize = 700;

/// What a machine is called where there is no `resourceconfig.json`.
const DEFAULT_HOST: &str = "algo-1";

/// A training container's folders.
#[derive(Clone, Debug)]
pub struct Container {
    root: PathBuf,
}

/// What a training container is asked to do.
#[derive(Clone, Debug)]
pub struct TrainingJob {
    /// The reference's defaults with the job's hyperparameters laid over them, and its channels as data.
    pub config: Config,
    /// The events to train on.
    pub train: Channel,
    /// Those to validate on.
    pub validation: Option<Channel>,
    /// Channels that nothing is done with.
    pub unused_channels: Vec<String>,
    /// This machine's name.
    pub host: String,
}

#[derive(Deserialize)]
struct ResourceConfig {
    #[serde(default)]
    current_host: Option<String>,
    #[serde(default)]
    hosts: Vec<String>,
}

impl Container {
    /// With its folders below `root`.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_path_buf() }
    }

    /// Where the model goes.
    pub fn model_path(&self) -> PathBuf {
        self.root.join("model")
    }

    /// Where a multi-model endpoint has its models.
    pub fn models_path(&self) -> PathBuf {
        self.root.join("models")
    }

    /// Where other output goes.
    pub fn output_path(&self) -> PathBuf {
        self.root.join("output/data")
    }

    /// Where checkpoints go and are found.
    pub fn checkpoints_path(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    /// Reads what is to be done.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming file, key and value for hyperparameters that there are not or that are out of range,
    /// channels that cannot be read, a job without a `train` channel, and a job on several machines; [`Error::Io`] where
    /// a file cannot be read.
    pub fn training_job(&self) -> Result<TrainingJob> {
        let host = self.host()?;
        let mut config = self.hyperparameters()?;
        let mut channels = self.channels()?;
        let Some(train) = channels.remove("train") else {
            return Err(Error::config(
                self.root.join("input/data/train").display().to_string(),
                "there is no channel `train`",
                "give the job an input channel named train, with CSV files of entity,address",
            ));
        };
        let validation = channels.remove("validation");
        config.data.train = vec![train.path.clone()];
        config.data.validation = validation.iter().map(|channel| channel.path.clone()).collect();
        Ok(TrainingJob { config, train, validation, unused_channels: channels.into_keys().collect(), host })
    }

    /// Removes what an earlier job in this folder said of its failure.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn forget_failure(&self) -> Result<()> {
        let path = self.failure_path();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    /// Writes why a job failed: what, where and the help, within the characters that are shown.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn report_failure(&self, error: &Error) -> Result<()> {
        let (folder, path) = (self.root.join("output"), self.failure_path());
        fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        fs::write(&path, failure_text(error)).map_err(Error::io("write", &path))
    }

    fn failure_path(&self) -> PathBuf {
        self.root.join("output/failure")
    }

    fn host(&self) -> Result<String> {
        let path = self.config_path("resourceconfig.json");
        let Some(value) = read_json(&path)? else { return Ok(DEFAULT_HOST.into()) };
        let resources: ResourceConfig =
            serde_json::from_value(value).map_err(|error| not_json(&path, &error))?;
        if resources.hosts.len() > 1 {
            return Err(Error::config(
                path.display().to_string(),
                format!("several hosts are not supported, and there are {}", resources.hosts.len()),
                "set instance_count to 1",
            ));
        }
        let host = resources.current_host.or_else(|| resources.hosts.into_iter().next());
        // It stands in lines that are read by expressions for text without spaces.
        let host = host.filter(|host| !host.is_empty() && !host.contains(char::is_whitespace));
        Ok(host.unwrap_or_else(|| DEFAULT_HOST.into()))
    }

    fn hyperparameters(&self) -> Result<Config> {
        let path = self.config_path("hyperparameters.json");
        let source = path.display().to_string();
        let map = match read_json(&path)? {
            None => return Ok(Config::default()),
            Some(Value::Object(map)) => map,
            Some(_) => {
                return Err(Error::config(source, "it is no map of names to text", EXAMPLE));
            }
        };
        let mut values = BTreeMap::new();
        // Names with an underscore in front are the service's own, the tuner's, for one, and so are those that its SDK
        // adds for jobs with an entry point.
        let is_ours = |key: &str| !key.starts_with('_') && !key.starts_with("sagemaker_");
        for (key, value) in map.into_iter().filter(|(key, _)| is_ours(key)) {
            match value {
                Value::String(text) => _ = values.insert(key, text),
                other => {
                    let what = format!("{key} = {other} is no text");
                    return Err(Error::config(format!("{source}: {key}"), what, EXAMPLE));
                }
            }
        }
        Config::from_named_values(&source, &values)
    }

    /// The channels by their names: those of `inputdataconfig.json`, and without that those that have a folder.
    fn channels(&self) -> Result<BTreeMap<String, Channel>> {
        let data = self.root.join("input/data");
        let path = self.config_path("inputdataconfig.json");
        let configs: BTreeMap<String, ChannelConfig> = match read_json(&path)? {
            Some(value) => serde_json::from_value(value).map_err(|error| not_json(&path, &error))?,
            None => folders(&data)?.into_iter().map(|name| (name, ChannelConfig::default())).collect(),
        };
        let channel = |(name, config): (String, ChannelConfig)| {
            let channel = Channel::new(&path, &name, &config, &data.join(&name))?;
            Ok((name, channel))
        };
        // What is not read need not be valid.
        let (used, unused): (Vec<_>, Vec<_>) =
            configs.into_iter().partition(|(name, _)| ["train", "validation"].contains(&name.as_str()));
        let unused = unused.into_iter().map(|(name, _)| {
            let channel = Channel { path: data.join(&name).display().to_string(), format: None };
            Ok((name, channel))
        });
        used.into_iter().map(channel).chain(unused).collect()
    }

    fn config_path(&self, name: &str) -> PathBuf {
        self.root.join("input/config").join(name)
    }
}

const EXAMPLE: &str = r#"every value is text, as in {"epochs": "5"}"#;

fn failure_text(error: &Error) -> String {
    let (what, help) = (error.to_string(), error.help().unwrap_or_default());
    let clip = |text: &str, num_chars: usize| match text.char_indices().nth(num_chars) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    };
    let what = match what.chars().count() + help.chars().count() < FAILURE_CHARS {
        true => what,
        false => clip(&what, FAILURE_CHARS_OF_ERROR),
    };
    let help = clip(&help, FAILURE_CHARS - 2 - what.chars().count());
    format!("{what}\n{help}").trim_end().to_string()
}

/// A JSON file, if there is one.
fn read_json(path: &Path) -> Result<Option<Value>> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| not_json(path, &error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

fn not_json(path: &Path, error: &serde_json::Error) -> Error {
    let help = "write it as SageMaker does: see the contract of training containers";
    Error::config(path.display().to_string(), format!("it is not what it should be: {error}"), help)
}

/// Names of the folders in a folder, which need not be there.
fn folders(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("read", folder)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("read", folder))?;
        // A channel that was left out may still have its empty folder.
        let is_used = fs::read_dir(entry.path()).is_ok_and(|mut files| files.next().is_some());
        if is_used && let Ok(name) = entry.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Format;

    fn container(files: &[(&str, &str)]) -> (tempfile::TempDir, Container) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join("input").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let container = Container::new(folder.path());
        (folder, container)
    }

    const TRAIN: (&str, &str) = ("data/train/a.csv", "a,1.2.3.4\n");

    fn refusal(files: &[(&str, &str)]) -> (String, String) {
        let (_folder, container) = container(files);
        let error = container.training_job().unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
        (error.to_string(), error.help().unwrap())
    }

    #[test]
    fn files_that_are_not_there_have_defaults() {
        let (_folder, container) = container(&[TRAIN]);
        let job = container.training_job().unwrap();
        assert_eq!(job.host, "algo-1");
        assert_eq!(job.config.hyperparameters, Config::default().hyperparameters);
        assert!(job.validation.is_none() && job.train.format.is_none());
        assert!(job.train.path.ends_with("/input/data/train"));
    }

    #[test]
    fn values_are_read_as_clients_encode_them_and_the_services_own_are_passed_over() {
        let (_folder, container) = container(&[
            TRAIN,
            (
                "config/hyperparameters.json",
                r#"{"num_entity_vectors": "\"60\"", "vector_dim": "8.0", "epochs": "\"1\"", "learning_rate": "\"1e-2\"",
                    "learning_rate_schedule": "\"linear\"", "keep_nobody": "True", "sagemaker_program": "\"train.py\"",
                    "sagemaker_container_log_level": "20", "sagemaker_region": "\"us-east-1\""}"#,
            ),
        ]);
        let config = container.training_job().unwrap().config;
        let of = config.hyperparameters;
        assert_eq!((of.epochs, of.learning_rate), (1, 0.01));
        assert_eq!(config.training.learning_rate_schedule, crate::config::LearningRateSchedule::Linear);
        assert!(config.data.keep_nobody);
        let (error, _) = refusal(&[TRAIN, ("config/hyperparameters.json", r#"{"epochs": "1.5"}"#)]);
        assert!(error.contains("expected an integer"), "{error}");
    }

    #[test]
    fn everything_that_is_said_is_heard() {
        let (_folder, container) = container(&[
            TRAIN,
            ("data/validation/b", "a,1.2.3.4\n"),
            (
                "config/hyperparameters.json",
                r#"{"epochs": "3", "_tuning_objective_metric": "validation:discriminator_auc", "_x": 5}"#,
            ),
            (
                "config/inputdataconfig.json",
                r#"{"train": {"ContentType": "text/csv; charset=UTF-8", "TrainingInputMode": "FastFile",
                              "S3DistributionType": "FullyReplicated", "RecordWrapperType": "None"},
                    "validation": {"ContentType": "application/jsonlines"},
                    "test": {"TrainingInputMode": "Pipe"}}"#,
            ),
            (
                "config/resourceconfig.json",
                r#"{"current_host": "algo-7", "hosts": ["algo-7"], "network_interface_name": "eth0"}"#,
            ),
        ]);
        let job = container.training_job().unwrap();
        assert_eq!(job.host, "algo-7");
        assert_eq!(job.config.hyperparameters.epochs, 3);
        assert_eq!(job.train.format, Some(Format::Csv));
        assert_eq!(job.validation.unwrap().format, Some(Format::JsonLines));
        assert_eq!(job.unused_channels, ["test"]);
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        let hosts =
            ("config/resourceconfig.json", r#"{"current_host": "algo-1", "hosts": ["algo-1", "algo-2"]}"#);
        let (error, help) = refusal(&[TRAIN, hosts]);
        assert!(error.contains("resourceconfig.json: several hosts are not supported"), "{error}");
        assert_eq!(help, "set instance_count to 1");

        let channel = |config: &str| refusal(&[TRAIN, ("config/inputdataconfig.json", config)]);
        for (config, what, mend) in [
            (r#"{"train": {"TrainingInputMode": "Pipe"}}"#, "train: the input mode Pipe", "File or FastFile"),
            (
                r#"{"train": {"ContentType": "application/x-recordio-protobuf"}}"#,
                "x-recordio-protobuf",
                "text/csv",
            ),
            (r#"{"train": {"ContentType": "text/csv; charset=utf-16"}}"#, "utf-16", "UTF-8"),
            (r#"{"train": {"RecordWrapperType": "RecordIO"}}"#, "RecordIO", "None"),
            (r#"{"test": {}}"#, "no channel `train`", "named train"),
            ("[", "inputdataconfig.json", "SageMaker"),
        ] {
            let (error, help) = channel(config);
            assert!(error.contains(what) && help.contains(mend), "{error}: {help}");
        }
        assert!(refusal(&[]).0.contains("no channel `train`"));

        let hyper = |text: &str| refusal(&[TRAIN, ("config/hyperparameters.json", text)]);
        let (error, help) = hyper(r#"{"epochs": 3}"#);
        assert!(error.ends_with("hyperparameters.json: epochs: epochs = 3 is no text"), "{error}");
        assert!(help.contains(r#""epochs": "5""#), "{help}");
        assert!(hyper("[]").0.contains("no map"));
        assert!(hyper(r#"{"epoch": "3"}"#).1.contains("did you mean `epochs`?"));
    }

    #[test]
    fn a_failure_says_how_to_mend_it_within_what_is_shown() {
        let short = failure_text(&Error::data("a.csv:1", "no address", "write entity,address"));
        assert_eq!(short, "a.csv:1: no address\nwrite entity,address");
        let long = failure_text(&Error::data("a.csv:1", "ä".repeat(3000), "write entity,address"));
        assert!(long.chars().count() <= FAILURE_CHARS && long.ends_with("…\nwrite entity,address"), "{long}");
        let both = failure_text(&Error::data("a", "ä".repeat(3000), "ö".repeat(3000)));
        assert!(both.chars().count() <= FAILURE_CHARS, "{}", both.chars().count());
    }
}
