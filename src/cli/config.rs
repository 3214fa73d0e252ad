use std::path::PathBuf;

use clap::{Args, Subcommand};
use ipsight::{Config, Error, Result};

use super::output;

#[derive(Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Print the configuration with every key: the defaults, the file and --set laid over each other
    Show {
        /// TOML file
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Set a configuration key; may be given several times
        #[arg(long, value_name = "SECTION.KEY=VALUE")]
        set: Vec<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of the configuration, for editors and checkers
    Schema,
}

pub fn run(args: ConfigArgs) -> Result<()> {
    match args.action {
        Action::Show { config, set, json } => {
            let config = Config::load(config.as_deref(), &set)?;
            match json {
                true => output::json(&config.table().map_err(|error| {
                    Error::config(
                        "configuration",
                        error.to_string(),
                        format!("integers: at most {}", i64::MAX),
                    )
                })?),
                false => output::line(config.to_toml().trim_end()),
            }
        }
        Action::Schema => output::json(&Config::json_schema()),
    }
}
