mod mmdb_writer;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use bytes::Bytes;
use maxminddb::Reader;
use proptest::prelude::*;

use super::*;
use crate::event::{Address, parse_address};
use mmdb_writer::Value;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn address(text: &str) -> Address {
    parse_address(text.as_bytes()).unwrap()
}

/// The folder, and a file of these bytes in it.
fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn read(name: &str, bytes: &[u8]) -> crate::Result<Networks> {
    let (_folder, path) = file(name, bytes);
    Networks::read(&path)
}

const TSV: &str = "10.0.0.0\t10.0.255.255\t64500\tNL\tEXAMPLE-A Example ISP\n\
                   10.1.0.0\t10.1.0.127\t64501\tDE\tExample Hosting\n\
                   10.1.0.128\t10.1.255.255\t0\tNone\tNot routed\n\
                   192.0.2.0\t192.0.2.255\t64500\tNL\tEXAMPLE-A Example ISP\n\
                   2001:db8::\t2001:db8:0:ffff:ffff:ffff:ffff:ffff\t64500\tNL\tEXAMPLE-A Example ISP\n\
                   2001:db8:1::\t2001:db8:1:ffff:ffff:ffff:ffff:ffff\t4200000000\tUnknown\tExample Six\n";

#[test]
fn a_tsv_of_both_families_says_whose_an_address_is() {
    let networks = read("ip2asn.tsv", TSV.as_bytes()).unwrap();
    let owner = |text: &str| networks.owner(address(text)).map(|owner| owner.to_string());
    let of_a = Some("AS64500 EXAMPLE-A Example ISP, NL".into());
    assert_eq!(owner("10.0.3.4"), of_a);
    assert_eq!(owner("192.0.2.255"), of_a);
    assert_eq!(owner("2001:db8:0:ffff::1"), of_a);
    assert_eq!(owner("10.1.0.127"), Some("AS64501 Example Hosting, DE".into()));
    assert_eq!(owner("2001:db8:1::1"), Some("AS4200000000 Example Six".into()));
    for nobody in [
        "10.1.0.128",
        "10.2.0.0",
        "9.255.255.255",
        "192.0.3.0",
        "255.255.255.255",
        "2001:db8:2::1",
        "2001:db7::",
    ] {
        assert_eq!(owner(nobody), None, "{nobody}");
    }
    assert_eq!(networks.source().kind, "TSV");
    assert_eq!(networks.num_groups(), [3, 2]);
    let NetworksSummary { source, num_as, num_countries, .. } = networks.summary();
    assert_eq!((source.num_ipv4, source.num_ipv6, num_as, num_countries), (3, 2, 3, 2));
}

#[test]
fn groups_are_shared_by_families_and_addresses_of_nobody_have_blocks() {
    let networks = read("x", TSV.as_bytes()).unwrap();
    let groups = |text: &str| networks.groups(address(text));
    assert_eq!(groups("10.0.0.1"), groups("2001:db8::1"));
    let [of_as, of_country] = groups("10.0.0.1");
    let share = ((65_536.0 + 256.0) / f64::exp2(32.0)) as f32;
    assert_eq!((of_as.share, of_country.share), (share, share));
    assert_ne!(of_as.code, groups("10.1.0.1")[0].code);
    // AS 4200000000 has no IPv4: its share is that of the /64s, and it has no country.
    let [of_as, of_country] = groups("2001:db8:1::1");
    assert_eq!((of_as.share, of_as.is_block()), (0.5, false));
    assert!(of_country.is_block());
    let block = groups("203.0.113.7");
    assert!(block.iter().all(|group| group.is_block() && group.share == 1.0 / 65_536.0));
    assert_eq!(block, groups("203.0.200.1"));
    assert_ne!(block, groups("203.1.113.7"));
    assert_eq!(groups("2a00:100::1"), groups("2a00:1ff::"));
    assert_ne!(groups("2a00:100::1"), groups("2a00:200::"));
}

#[test]
fn a_table_is_read_from_its_sections_as_it_was() {
    let networks = read("x.tsv", TSV.as_bytes()).unwrap();
    let sections = networks.sections();
    let section = |name: &str| -> Result<Bytes, String> {
        let found = sections.iter().find(|section| section.0 == name);
        found.map(|section| section.1.clone()).ok_or_else(|| format!("has no {name}"))
    };
    let again = Networks::from_sections(section).unwrap();
    assert_eq!(again.summary(), networks.summary());
    for text in ["10.0.0.1", "10.1.0.127", "10.1.0.128", "2001:db8:1::1", "8.8.8.8"] {
        assert_eq!(again.owner(address(text)), networks.owner(address(text)));
        assert_eq!(again.groups(address(text)), networks.groups(address(text)));
    }
    // What lies there is not trusted: it is refused, or wrong without a panic.
    for (damaged, _) in &sections {
        for cut in [true, false] {
            let section = |name: &str| {
                let bytes = section(name)?;
                let is_damaged = name == *damaged;
                Ok(match (is_damaged, cut) {
                    (false, _) => bytes,
                    (true, true) => bytes.slice(..bytes.len() / 2),
                    (true, false) => bytes.iter().map(|byte| byte ^ 0xA5).collect::<Vec<u8>>().into(),
                })
            };
            if let Ok(networks) = Networks::from_sections(section) {
                for text in ["10.0.0.1", "255.255.255.255", "2001:db8:1::1"] {
                    networks.owner(address(text));
                    networks.groups(address(text));
                }
                networks.summary();
            }
        }
    }
}

/// Published tables have such networks in places.
#[test]
fn of_networks_that_overlap_the_later_one_has_what_both_have() {
    let lines = "1.0.0.0\t1.0.0.99\t1\tNL\tA\n1.0.0.50\t1.0.0.150\t2\tNL\tB\n1.0.0.60\t1.0.0.70\t3\tNL\tC\n\
                 1.0.0.60\t1.0.0.61\t4\tNL\tD\n0.0.0.0\t255.255.255.255\t5\tNL\tE\n2000::\tffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff\t6\tNL\tF\n";
    let networks = read("x", lines.as_bytes()).unwrap();
    let asn = |text: &str| networks.owner(address(text)).unwrap().asn.unwrap();
    for (ip, expected) in [
        ("0.0.0.0", 5),
        ("1.0.0.0", 1),
        ("1.0.0.49", 1),
        ("1.0.0.50", 2),
        ("1.0.0.60", 4),
        ("1.0.0.62", 3),
        ("1.0.0.71", 2),
        ("1.0.0.99", 2),
        ("1.0.0.150", 2),
        ("1.0.0.151", 5),
        ("255.255.255.255", 5),
        ("2000::1", 6),
        ("feff::1", 6),
    ] {
        assert_eq!(asn(ip), expected, "{ip}");
    }
}

#[test]
fn a_file_that_is_no_table_is_refused_by_name() {
    let text = |bytes: &[u8]| {
        let error = read("table.xyz", bytes).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        error.to_string()
    };
    assert!(text(b"").contains("table.xyz: the file is empty"));
    assert!(text(b"PAR1\0\0\0").contains("neither a MaxMind DB nor text"));
    assert!(text(b"user,1.2.3.4\n").contains("table.xyz:1: the line has fewer than three fields"));
    assert!(text(b"1.0.0.0\t1.0.0.255\t1\tNL\tA\n1.0.1.0\tx\t1\n").contains(":2: the line has \"x\""));
    assert!(text(b"1.0.0.0\t1.0.0.255\t-1\n").contains("AS number"));
    assert!(text(b"1.0.0.9\t1.0.0.5\t1\tNL\tA\n").contains("before its start"));
    assert!(text(b"1.0.0.9\t::5\t1\tNL\tA\n").contains("different families"));
    assert!(text(b"1.0.0.0\t1.0.0.255\t0\tNone\tNot routed\n").contains("no network with"));
    let city = Value::Map(vec![("connection_type", Value::Text("Cable/DSL"))]);
    let other = mmdb_writer::write(24, 4, "GeoIP2-Connection-Type", &[(ip("1.0.0.0"), 8, city)]);
    assert!(text(&other).contains("no network with"));
    let good = mmdb_writer::write(28, 6, "ASN", &records());
    assert!(text(&good[..good.len() / 2]).contains("neither a MaxMind DB nor text"));
    // The metadata are whole, and the tree is not there.
    assert!(text(&good[good.len() - 260..]).contains("table.xyz"));
}

#[test]
fn damage_of_a_maxmind_db_never_panics() {
    let good = mmdb_writer::write(24, 6, "ASN", &records());
    for at in 0..good.len() {
        for flip in [0x01, 0x80, 0xFF] {
            let mut bytes = good.clone();
            bytes[at] ^= flip;
            if mmdb::is_mmdb(&bytes) {
                let _ = mmdb::read(&bytes);
            }
        }
    }
}

#[test]
fn compressed_tables_are_read() {
    use std::io::Write;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(TSV.as_bytes()).unwrap();
    let from_gzip = read("ip2asn.tsv.gz", &gzip.finish().unwrap()).unwrap();
    assert_eq!(from_gzip.num_groups(), [3, 2]);
    let good = mmdb_writer::write(28, 6, "ASN", &records());
    let from_zstd = read("asn.mmdb.zst", &zstd::encode_all(&good[..], 1).unwrap()).unwrap();
    assert_eq!(from_zstd.source().kind, "MaxMind DB ASN");
    assert_eq!(from_zstd.source().time, Some(1_700_000_000));
}

fn asn(number: u32, name: &'static str) -> Value {
    let name = ("autonomous_system_organization", Value::Text(name));
    Value::Map(vec![("autonomous_system_number", Value::Number(number)), name])
}

fn records() -> Vec<(IpAddr, u8, Value)> {
    let country = |code| Value::Map(vec![("iso_code", Value::Text(code))]);
    let other = Value::Map(vec![
        ("asn", Value::Text("AS64502")),
        ("as_name", Value::Text("Other Names")),
        ("country_code", Value::Text("fr")),
    ]);
    vec![
        (ip("10.0.0.0"), 8, asn(64_500, "A")),
        (ip("10.2.0.0"), 16, asn(64_501, "B")),
        (ip("10.2.3.4"), 32, other),
        (ip("192.0.2.0"), 24, Value::Map(vec![("country", country("DE"))])),
        (ip("198.51.100.0"), 25, Value::Map(vec![("registered_country", country("SE"))])),
    ]
}

#[test]
fn fields_of_several_publishers_are_known() {
    let networks = read("x.mmdb", &mmdb_writer::write(32, 6, "x", &records())).unwrap();
    let owner = |text: &str| networks.owner(address(text)).map(|owner| owner.to_string());
    assert_eq!(owner("10.1.2.3").unwrap(), "AS64500 A");
    assert_eq!(owner("10.2.3.5").unwrap(), "AS64501 B");
    assert_eq!(owner("10.2.3.4").unwrap(), "AS64502 Other Names, FR");
    assert_eq!(owner("192.0.2.7").unwrap(), "DE");
    assert_eq!(owner("198.51.100.127").unwrap(), "SE");
    assert_eq!(owner("198.51.100.128"), None);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    /// Networks of any lengths, with every size of a record, IPv4 alone or in a tree of IPv6.
    #[test]
    fn addresses_have_the_owners_that_the_crate_finds(
        networks in prop::collection::vec((any::<u32>(), 1u8..=32), 1..20),
        networks6 in prop::collection::vec((any::<u32>(), 1u8..=64), 0..10),
        record_size in prop_oneof![Just(24u16), Just(28), Just(32)],
        ip_version in prop_oneof![Just(4u16), Just(6)],
        others in prop::collection::vec((any::<u32>(), any::<u64>()), 20),
    ) {
        let mut all: Vec<(IpAddr, u8, Value)> = Vec::new();
        for (i, (bits, prefix)) in networks.iter().enumerate() {
            all.push((Ipv4Addr::from_bits(*bits).into(), *prefix, asn(100 + i as u32, "four")));
        }
        if ip_version == 6 {
            for (i, (bits, prefix)) in networks6.iter().enumerate() {
                let bits = 0x2000_0000 | bits >> 3;
                let ip = Ipv6Addr::from_bits(u128::from(bits) << 96);
                all.push((ip.into(), *prefix.max(&4), asn(200 + i as u32, "six")));
            }
        }
        all.sort_by_key(|network| network.1);
        let bytes = mmdb_writer::write(record_size, ip_version, "ASN", &all);
        let reader = Reader::from_source(&bytes).unwrap();
        let table = mmdb::read(&bytes).unwrap().builder.finish(NetworksSource {
            file: String::new(), kind: String::new(), time: None, blake3: String::new(), num_ipv4: 0, num_ipv6: 0,
        }).unwrap();
        let near = networks.iter().flat_map(|(bits, _)| [-1i32, 0, 1].map(|d| bits.wrapping_add_signed(d)));
        let ipv4 = near.chain(others.iter().map(|other| other.0)).map(|bits| IpAddr::from(Ipv4Addr::from_bits(bits)));
        let near = networks6.iter().map(|(bits, _)| u64::from(0x2000_0000 | bits >> 3) << 32);
        let ipv6 = near.chain(others.iter().map(|other| 0x2000 << 48 | other.1 >> 3));
        let ipv6 = ipv6.map(|bits| IpAddr::from(Ipv6Addr::from_bits(u128::from(bits) << 64)));
        for ip in ipv4.chain(ipv6.filter(|_| ip_version == 6)) {
            #[derive(serde::Deserialize)]
            struct Record { autonomous_system_number: u32 }
            let expected = reader.lookup(ip).unwrap().decode::<Record>().unwrap();
            let found = table.owner(parse_address(ip.to_string().as_bytes()).unwrap());
            prop_assert_eq!(found.and_then(|owner| owner.asn), expected.map(|record| record.autonomous_system_number), "{}", ip);
        }
    }
}
