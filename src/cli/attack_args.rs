use clap::Args;
use ipsight::Result;
use ipsight::data::ReadOptions;
use ipsight::evaluate::{Attacks, parse_attacks};

/// Flags of every verb that tells attacks from ordinary events.
#[derive(Args)]
pub struct AttackArgs {
    /// The events carry labels, 1 for an attack: in column 3 of CSV, under `label` elsewhere. Without labels
    /// each event is scored against one random address of its family
    #[arg(long)]
    pub labels: bool,
    /// The column of the labels, if it is another one
    #[arg(long, value_name = "COLUMN", requires = "labels")]
    label_column: Option<String>,
    /// Attacks added to a share of the events, instead of one random address beside each, of the family of the event's
    /// address: uniform, other_users (the address of another entity's event) or neighbour (of IPv4, the /16 of the event's
    /// address without its /24; of IPv6, one in its /48 and one in its /32 outside the /48); uniform_ipv4 and uniform_ipv6
    /// add to events of one family; `default` is uniform=0.01
    #[arg(long, value_name = "KIND=FRACTION", num_args = 1.., conflicts_with = "labels")]
    attacks: Vec<String>,
    /// Seed of the attacks' addresses
    #[arg(long, default_value_t = 0, conflicts_with = "labels")]
    pub seed: u64,
}

impl AttackArgs {
    /// Where attacks come from.
    pub fn attacks(&self) -> Result<Attacks> {
        match (self.labels, self.attacks.is_empty()) {
            (true, _) => Ok(Attacks::Labelled),
            (false, true) => Ok(Attacks::RandomIpv4),
            (false, false) => Ok(Attacks::Added(parse_attacks(&self.attacks)?)),
        }
    }

    /// How events are read that have labels, or none.
    pub fn read_options(&self, read: ReadOptions) -> ReadOptions {
        ReadOptions { labels: self.labels, label_column: self.label_column.clone(), ..read }
    }
}
