//! `ipsight` learns how entities (accounts, hosts, resources) use IPv4 addresses and scores how anomalous an
//! (entity, IP) event is.

mod error;
pub mod event;

pub use error::{Error, Result, nearest};
pub use event::Event;
