//! Tables as iptoasn.com has them: first address, last address, AS number, country, name, with tabs between them.

use std::net::IpAddr;

use super::table_builder::{OwnerData, TableBuilder};

/// Reads the lines of a table.
///
/// # Errors
///
/// The number of the line, from 1, and what is wrong with it.
pub(super) fn read(text: &[u8]) -> Result<TableBuilder, (usize, String)> {
    let mut builder = TableBuilder::default();
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !line.is_empty() {
            add(&mut builder, line).map_err(|what| (number + 1, what))?;
        }
    }
    Ok(builder)
}

fn add(builder: &mut TableBuilder, line: &[u8]) -> Result<(), String> {
    let line = str::from_utf8(line).map_err(|_| "is not UTF-8")?;
    let mut fields = line.splitn(5, '\t').map(str::trim);
    let (Some(first), Some(last), Some(asn)) = (fields.next(), fields.next(), fields.next()) else {
        return Err("has fewer than three fields with tabs between them".into());
    };
    let ip = |text: &str| text.parse::<IpAddr>().map_err(|_| format!("has {text:?}, which is no address"));
    let owner = OwnerData {
        asn: asn.parse().map_err(|_| format!("has {asn:?}, which is no AS number from 0 to {}", u32::MAX))?,
        country: OwnerData::country(fields.next().unwrap_or("")),
        name: fields.next().unwrap_or("").into(),
    };
    builder.add(ip(first)?, ip(last)?, owner)
}
