use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use clap::Args;
use ipsight::synth::{
    AddressRanges, AttackMix, GenerateOptions, Ipv6Shares, LabelledTest, Population, generate, write_files,
};
use ipsight::{Error, Result};

use super::output;
use super::read_args::parse_fraction;

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
    /// Share of the users that have IPv6 beside IPv4
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = parse_fraction)]
    ipv6_users: f64,
    /// Share of these users' logins that is over IPv6
    #[arg(long, value_name = "SHARE", default_value_t = 0.5, value_parser = parse_fraction)]
    ipv6_logins: f64,
    /// Kinds of attacks in test_labelled.csv, each with their number as a fraction of the test's logins. Kinds:
    /// uniform_ipv4 (any address), address_ranges (any range), other_users (around another user's home or work),
    /// neighbour (a range next to the user's home or work range, or in the same /16). By default there are as many
    /// attacks as logins, in equal shares of all kinds
    #[arg(long, value_name = "KIND=FRACTION", num_args = 1..)]
    attacks: Vec<String>,
    /// Folder for train.csv, validation.csv, test.csv, test_labelled.csv (the test and attacks: entity, ip, label, kind)
    /// and truth.csv (the same rows with their true log likelihood ratios, the best possible anomaly score)
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
    let options = GenerateOptions {
        num_users: args.users as usize,
        num_days: args.days as usize,
        seed: args.seed,
        ipv6: Ipv6Shares { users: args.ipv6_users, logins: args.ipv6_logins },
    };
    // The flag is checked before the work is done.
    let population = Population::with_ipv6(&ranges, options.num_users, options.seed, options.ipv6);
    let mix = match &args.attacks[..] {
        [] => AttackMix::equal_shares(&population),
        attacks => AttackMix::parse(attacks)?,
    };
    mix.check(&population)?;
    let logins = generate(&ranges, &options);
    let labelled = LabelledTest::draw(&population, &logins.test, mix, options.seed)?;
    write_files(&logins, &labelled, &args.output)?;
    for (name, logins) in
        [("train", &logins.train), ("validation", &logins.validation), ("test", &logins.test)]
    {
        talk!("{name}.csv: {} logins", output::count(logins.len() as u64));
    }
    let count =
        |kind| output::count(labelled.rows().iter().filter(|row| row.kind == Some(kind)).count() as u64);
    let kinds =
        labelled.mix().fractions().iter().map(|&(kind, _)| format!("{} {}", count(kind), kind.name()));
    talk!("test_labelled.csv: the test's logins and attacks: {}", kinds.collect::<Vec<_>>().join(", "));
    talk!("truth.csv: their true log likelihood ratios");
    Ok(())
}
