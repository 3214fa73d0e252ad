use std::ffi::OsString;
use std::net::Ipv6Addr;
use std::path::PathBuf;

use clap::Args;
use ipsight::event::{hash_entity, parse_ipv4};
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
    /// The IPv4 address
    #[arg(value_name = "IP", value_parser = parse_ip)]
    ip: u32,
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
    let LoadedModel { mut scorer, thresholds, .. } = LoadedModel::load(&args.model, &device)?;
    args.unseen.apply(&mut scorer)?;
    let event = Event { entity: hash_entity(args.entity.as_encoded_bytes()), ip: args.ip };
    check_seen(&scorer, event, "ENTITY")?;
    let entity = args.entity.to_string_lossy();
    let explained = Explained::new(&scorer, thresholds.as_ref(), &entity, event)?;
    if args.json { output::json(&explained) } else { output::line(text(&explained)) }
}

/// The flag that clap names says where.
fn parse_ip(text: &str) -> std::result::Result<u32, String> {
    let address = text.trim_start_matches('[').split([']', '%', '/']).next().unwrap_or(text);
    if address.parse::<Ipv6Addr>().is_ok() {
        return Err("this is an IPv6 address, and the model knows IPv4 addresses only".into());
    }
    parse_ipv4(text.as_bytes()).ok_or_else(|| {
        "an IPv4 address is four numbers from 0 to 255 with dots between them, without leading zeros, port or \
         prefix length"
            .into()
    })
}
