use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use ipsight::event::{Address, hash_entity, parse_address};
use ipsight::inference::LoadedModel;
use ipsight::inference::explain::Explained;
use ipsight::{Error, Event, Result};

use super::common_args::{DeviceArg, UnseenArg, check_seen};
use super::explanation_text::text;
use super::output;

#[derive(Args)]
pub struct ExplainArgs {
    /// Model folder
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The entity, as it stands in the events
    #[arg(value_name = "ENTITY")]
    entity: OsString,
    /// The address
    #[arg(value_name = "IP", value_parser = parse_ip)]
    ip: Address,
    #[command(flatten)]
    unseen: UnseenArg,
    #[command(flatten)]
    device: DeviceArg,
    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
}

pub fn run(args: ExplainArgs) -> Result<()> {
    if args.entity.is_empty() {
        return Err(Error::config("ENTITY", "it is empty", "give the entity as it stands in the events"));
    }
    let device = args.device.choose()?;
    let LoadedModel { config, mut scorer, thresholds, .. } = LoadedModel::load(&args.model, &device)?;
    args.unseen.apply(&mut scorer)?;
    if !config.model.addresses.take(args.ip) {
        let help = "give an IPv4 address, or a model that was trained with model.addresses = \"both\"";
        return Err(Error::config(
            "IP",
            format!("the model knows no IPv6 addresses, and {} is one", args.ip),
            help,
        ));
    }
    let event = Event { entity: hash_entity(args.entity.as_encoded_bytes()), address: args.ip };
    check_seen(&scorer, event, "ENTITY")?;
    let entity = args.entity.to_string_lossy();
    let explained = Explained::new(&scorer, thresholds.as_ref(), &entity, event)?;
    if args.json { output::json(&explained) } else { output::line(text(&explained)) }
}

/// The flag that clap names says where.
fn parse_ip(text: &str) -> std::result::Result<Address, String> {
    parse_address(text.as_bytes()).ok_or_else(|| {
        "an IPv4 address is four numbers from 0 to 255 with dots between them, without leading zeros; an IPv6 address is a \
         client's, so none in ::/32 or fe80::/10; either stands without brackets, port or prefix length"
            .into()
    })
}
