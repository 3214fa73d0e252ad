use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use ipsight::device;
use ipsight::model_folder;
use ipsight::sagemaker::Container;
use ipsight::serve::AtStart;
use ipsight::train::{FolderLock, Resume, fit_detector};
use ipsight::{Error, Result};

use super::serve::{ServeOptions, serve};
use super::training::{
    Formats, InputPaths, Log, Stop, Training, check_memory, end, fit_sizes, load, summary, trained_model,
};

#[derive(Args)]
pub struct SagemakerArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Train as a training container: hyperparameters, channels and checkpoints in, model and metric lines out
    Train {
        /// Folder of the container's input and output
        #[arg(long, value_name = "DIR", default_value = "/opt/ml")]
        root: PathBuf,
    },
    /// Serve as an inference container: the model in ROOT/model, or those that are asked for where
    /// SAGEMAKER_MULTI_MODEL is true
    Serve {
        /// Folder of the container's input and output
        #[arg(long, value_name = "DIR", default_value = "/opt/ml")]
        root: PathBuf,
        /// Where to listen; who reaches it is the platform's business
        #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8080")]
        listen: SocketAddr,
        #[command(flatten)]
        options: Box<ServeOptions>,
    },
}

/// By which a multi-model endpoint says that it is one.
const MULTI_MODEL: &str = "SAGEMAKER_MULTI_MODEL";

pub fn run(args: SagemakerArgs) -> Result<()> {
    match args.action {
        Action::Train { root } => {
            let container = Container::new(&root);
            let result = train(&container);
            if let Err(error) = &result
                && !matches!(error, Error::Stopped { .. })
                && let Err(unwritten) = container.report_failure(error)
            {
                talk!("{unwritten}");
            }
            result
        }
        Action::Serve { root, listen, mut options } => {
            let container = Container::new(&root);
            options.insecure = true;
            match std::env::var(MULTI_MODEL).is_ok_and(|value| value.eq_ignore_ascii_case("true")) {
                true => {
                    // The platform loads and unloads them where it sends requests.
                    options.manage_models = true;
                    serve(&container.models_path(), AtStart::None, listen, &options)
                }
                false => serve(&container.model_path(), AtStart::All, listen, &options),
            }
        }
    }
}

fn train(container: &Container) -> Result<()> {
    let stop = Stop::on_signals()?;
    container.forget_failure()?;
    let mut job = container.training_job()?;
    for name in &job.unused_channels {
        talk!("the channel `{name}` is not used: there are train and validation");
    }
    let device = device::choose(job.config.training.device)?;
    talk!("device: {}", device.description);
    check_memory(&job.config, &device)?;
    let output = container.output_path();
    let lock = FolderLock::take(&output)?;
    let formats = Formats {
        train: job.train.format,
        validation: job.validation.as_ref().and_then(|channel| channel.format),
    };
    let (events, validation) = load(&job.config, &InputPaths::of(&job.config), formats)?;
    fit_sizes(&mut job.config, (&events, validation.as_ref()), None, &device)?;
    let config = &job.config;
    let training = Training {
        config,
        events: &events,
        validation: validation.as_ref(),
        device: &device,
        folder: &output,
        lock,
        checkpoints: &container.checkpoints_path(),
        init_from: None,
        resume: Resume::Auto,
        until_epoch: None,
        stop,
        log: Log::Sagemaker { host: &job.host },
    };
    let trained = training.run()?;
    let (model, summary) = (container.model_path(), summary(&trained, config, events.len()));
    drop(validation);
    let detector = fit_detector(events, config, None, None, &output)?;
    model_folder::save_in_place(&model, &trained_model(&trained, detector.as_ref()), config, summary)?;
    talk!("model: {}", model.display());
    end(trained, &model)
}
