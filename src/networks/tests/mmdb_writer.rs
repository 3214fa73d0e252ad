//! Writes small MaxMind DBs: <https://maxmind.github.io/MaxMind-DB/>.

use std::net::IpAddr;

/// A value of the data section.
#[derive(Clone)]
pub(super) enum Value {
    Text(&'static str),
    Number(u32),
    Map(Vec<(&'static str, Value)>),
}

impl Value {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Value::Text(text) => {
                control(2, text.len(), out);
                out.extend_from_slice(text.as_bytes());
            }
            Value::Number(number) => number_of(6, u64::from(*number), out),
            Value::Map(entries) => map(entries.iter().map(|(key, value)| (*key, value)), out),
        }
    }
}

/// Of a type below 8, or of an extended one.
fn control(kind: u8, size: usize, out: &mut Vec<u8>) {
    assert!(size < 29 + 256, "larger ones are not written");
    match kind {
        ..8 => out.push(kind << 5 | size.min(29) as u8),
        8.. => out.extend_from_slice(&[size.min(29) as u8, kind - 7]),
    }
    if size >= 29 {
        out.push((size - 29) as u8);
    }
}

fn number_of(kind: u8, number: u64, out: &mut Vec<u8>) {
    let bytes = number.to_be_bytes();
    let start = bytes.iter().take_while(|byte| **byte == 0).count();
    control(kind, 8 - start, out);
    out.extend_from_slice(&bytes[start..]);
}

fn map<'a>(entries: impl ExactSizeIterator<Item = (&'a str, &'a Value)>, out: &mut Vec<u8>) {
    control(7, entries.len(), out);
    for (key, value) in entries {
        control(2, key.len(), out);
        out.extend_from_slice(key.as_bytes());
        value.encode(out);
    }
}

#[derive(Clone, Copy)]
enum Child {
    Empty,
    Node(usize),
    Data(usize),
}

/// A database of these networks, each with its prefix length; later ones may lie within earlier ones.
pub(super) fn write(
    record_size: u16,
    ip_version: u16,
    database_type: &'static str,
    networks: &[(IpAddr, u8, Value)],
) -> Vec<u8> {
    let mut nodes = vec![[Child::Empty; 2]];
    let mut data = Vec::new();
    for (ip, prefix, value) in networks {
        let offset = data.len();
        value.encode(&mut data);
        let (bits, length) = match (ip, ip_version) {
            (IpAddr::V4(ip), 4) => (u128::from(ip.to_bits()) << 96, *prefix),
            (IpAddr::V4(ip), _) => (u128::from(ip.to_bits()), 96 + prefix),
            (IpAddr::V6(ip), _) => (ip.to_bits(), *prefix),
        };
        insert(&mut nodes, bits, length.into(), offset);
    }
    let mut out = Vec::new();
    let number = |child: Child| match child {
        Child::Empty => nodes.len() as u32,
        Child::Node(node) => node as u32,
        Child::Data(offset) => (nodes.len() + 16 + offset) as u32,
    };
    for [left, right] in nodes.iter().map(|node| node.map(number)) {
        match record_size {
            24 => [left, right].iter().for_each(|record| out.extend_from_slice(&record.to_be_bytes()[1..])),
            28 => {
                out.extend_from_slice(&left.to_be_bytes()[1..]);
                out.push((left >> 24 << 4 | right >> 24) as u8);
                out.extend_from_slice(&right.to_be_bytes()[1..]);
            }
            _ => [left, right].iter().for_each(|record| out.extend_from_slice(&record.to_be_bytes())),
        }
    }
    out.extend_from_slice(&[0; 16]);
    out.extend_from_slice(&data);
    out.extend_from_slice(b"\xAB\xCD\xEFMaxMind.com");
    metadata(&mut out, nodes.len(), record_size, ip_version, database_type);
    out
}

fn insert(nodes: &mut Vec<[Child; 2]>, bits: u128, length: usize, offset: usize) {
    let mut node = 0;
    for depth in 0..length {
        let side = (bits >> (127 - depth) & 1) as usize;
        if depth + 1 == length {
            nodes[node][side] = Child::Data(offset);
            return;
        }
        node = match nodes[node][side] {
            Child::Node(next) => next,
            // A wider network is split into its halves.
            before => {
                nodes.push([before; 2]);
                let next = nodes.len() - 1;
                nodes[node][side] = Child::Node(next);
                next
            }
        };
    }
}

fn metadata(out: &mut Vec<u8>, num_nodes: usize, record_size: u16, ip_version: u16, database_type: &str) {
    control(7, 9, out);
    let key = |name: &str, out: &mut Vec<u8>| {
        control(2, name.len(), out);
        out.extend_from_slice(name.as_bytes());
    };
    let numbers: [(&str, u8, u64); 6] = [
        ("node_count", 6, num_nodes as u64),
        ("record_size", 5, record_size.into()),
        ("ip_version", 5, ip_version.into()),
        ("binary_format_major_version", 5, 2),
        ("binary_format_minor_version", 5, 0),
        ("build_epoch", 9, 1_700_000_000),
    ];
    for (name, kind, number) in numbers {
        key(name, out);
        number_of(kind, number, out);
    }
    key("database_type", out);
    key(database_type, out);
    key("languages", out);
    control(11, 1, out);
    key("en", out);
    key("description", out);
    control(7, 1, out);
    key("en", out);
    key("for tests", out);
}
