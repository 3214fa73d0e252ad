use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use clap::Args;
use ipsight::synth::{AddressRanges, GenerateOptions, generate, write_files};
use ipsight::{Error, Result};

use super::output;

#[derive(Args)]
pub struct GenerateArgs {
    /// Number of users
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    users: u64,
    /// Days that the logins spread over: 7 in 10 for training, 2 for validation, 1 for the test
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3650))]
    days: u64,
    /// Determines the logins
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder for train.csv, validation.csv, test.csv and test_labelled.csv (the test with as many attacks)
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Address ranges to draw from instead of the built-in ones: iptoasn's TSV, `start end asn country name`
    #[arg(long, value_name = "FILE")]
    ranges: Option<PathBuf>,
}

pub fn run(args: GenerateArgs) -> Result<()> {
    let ranges = match &args.ranges {
        None => AddressRanges::built_in(),
        Some(path) => {
            let file = File::open(path).map_err(Error::io("read", path))?;
            AddressRanges::from_tsv(BufReader::new(file), &path.display().to_string())?
        }
    };
    let options =
        GenerateOptions { num_users: args.users as usize, num_days: args.days as usize, seed: args.seed };
    let logins = generate(&ranges, &options);
    write_files(&logins, &args.output)?;
    for (name, logins) in
        [("train", &logins.train), ("validation", &logins.validation), ("test", &logins.test)]
    {
        talk!("{name}.csv: {} logins", output::count(logins.len() as u64));
    }
    talk!("test_labelled.csv: the test's logins and as many attacks");
    Ok(())
}
