//! Our readers beside those of others, on more inputs than a corpus has. With `IPSIGHT_DIFFERENTIAL=full` on as many as
//! one would want once: every IPv4 address, 10^8 mutations of them, 10 million rows.

use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::mutate::mutate;
use super::{csv, ip};
use crate::event::{parse_address, parse_ipv4};

fn is_full() -> bool {
    std::env::var_os("IPSIGHT_DIFFERENTIAL").is_some_and(|value| value == "full")
}

/// Says what was compared, past the test runner.
fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "compared: {what}");
}

#[test]
fn addresses_in_their_canonical_form_are_those_of_the_standard_library() {
    // Every one, or one of 65,537, which is in each /16.
    let step = if is_full() { 1 } else { 65_537 };
    let octets: Vec<String> = (0..=255).map(|octet: u32| octet.to_string()).collect();
    let num_compared = AtomicU64::new(0);
    (0..=u32::MAX >> 16).into_par_iter().for_each(|high| {
        let mut text = String::with_capacity(15);
        let first = u64::from(high) << 16;
        let skipped = (step - first % step) % step;
        for ip in (first + skipped..first + 65_536).step_by(step as usize) {
            text.clear();
            for (i, octet) in (ip as u32).to_be_bytes().into_iter().enumerate() {
                if i > 0 {
                    text.push('.');
                }
                text += &octets[usize::from(octet)];
            }
            assert_eq!(parse_ipv4(text.as_bytes()), Some(ip as u32), "{text}");
            assert_eq!(text.parse::<Ipv4Addr>().map(u32::from), Ok(ip as u32));
            num_compared.fetch_add(1, Ordering::Relaxed);
        }
    });
    let num_compared = num_compared.into_inner();
    assert_eq!(num_compared, u64::from(u32::MAX) / step + 1);
    say(&format!("{num_compared} canonical IPv4 addresses"));
}

#[test]
fn mutated_addresses_are_those_of_the_standard_library() {
    const AT_ONCE: u64 = 10_000;
    let num_texts: u64 = if is_full() { 100_000_000 } else { 200_000 };
    let tokens: Vec<Vec<u8>> = [
        ".",
        "0",
        "00",
        "255",
        "256",
        "::ffff:",
        "64:ff9b::",
        "fe80:",
        "::",
        ":",
        "ffff",
        "DB8",
        "/24",
        "%1",
        "%eth0",
        "[",
        "]:443",
        " ",
        "\0",
        "x",
        "+",
        "-",
        "e",
        "\u{ff11}",
    ]
    .map(|token| token.as_bytes().to_vec())
    .to_vec();
    (0..num_texts / AT_ONCE).into_par_iter().for_each(|seed| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for _ in 0..AT_ONCE {
            let mut text = address(&mut rng).into_bytes();
            mutate(&mut text, &[], &tokens, &mut rng);
            ip(&text);
        }
    });
    say(&format!("{num_texts} mutated addresses of both families"));
}

/// An address of either family in one of its forms.
fn address(rng: &mut ChaCha8Rng) -> String {
    let ipv4 = Ipv4Addr::from(rng.random::<u32>());
    let ipv6 = ipv6(rng);
    match rng.random_range(0..10) {
        0..=3 => ipv4.to_string(),
        4 => ipv4.to_ipv6_mapped().to_string(),
        5 => format!("64:ff9b::{ipv4}"),
        6 => ipv6.segments().map(|group| format!("{group:04X}")).join(":"),
        7 => ipv6.segments().map(|group| format!("{group:x}")).join(":"),
        _ => ipv6.to_string(),
    }
}

/// An IPv6 address, with groups of zeros so that there are short forms.
fn ipv6(rng: &mut ChaCha8Rng) -> Ipv6Addr {
    let (groups, zeros) = (rng.random::<[u16; 8]>(), rng.random::<u8>());
    let lengths = rng.random::<u32>();
    Ipv6Addr::from(std::array::from_fn(|i| match zeros >> i & 1 {
        1 => 0,
        _ => groups[i] >> ((lengths >> (2 * i) & 3) * 4),
    }))
}

#[test]
fn written_ipv6_addresses_are_those_of_the_standard_library() {
    const AT_ONCE: u64 = 10_000;
    let num_addresses: u64 = if is_full() { 100_000_000 } else { 100_000 };
    (0..num_addresses / AT_ONCE).into_par_iter().for_each(|seed| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for _ in 0..AT_ONCE {
            let written = ipv6(&mut rng).to_string();
            ip(written.as_bytes());
            if let Some(address) = parse_address(written.as_bytes()) {
                ip(address.to_string().as_bytes());
            }
        }
    });
    say(&format!("{num_addresses} written IPv6 addresses"));
}

#[test]
fn generated_and_mutated_csv_rows_are_those_of_the_csv_crate() {
    const AT_ONCE: usize = 100;
    let num_rows: usize = if is_full() { 10_000_000 } else { 20_000 };
    let tokens: Vec<Vec<u8>> =
        ["\"", "\"\"", ",", "\n", "\r", "\r\n", "\",\"", "\"\n", " ", "\t", "\0", "1.2.3.4"]
            .map(|token| token.as_bytes().to_vec())
            .to_vec();
    (0..num_rows / AT_ONCE).into_par_iter().for_each(|seed| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed as u64);
        let mut text = Vec::new();
        for _ in 0..AT_ONCE {
            push_row(&mut text, &mut rng);
        }
        csv(&text);
        mutate(&mut text, &[], &tokens, &mut rng);
        csv(&text);
    });
    say(&format!("{num_rows} CSV rows, as generated and mutated"));
}

/// A row as exporters write them: mostly plain, some quoted, with more columns, or bad.
fn push_row(text: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
    let (user, ip) = (rng.random_range(0..1_000_000), Ipv4Addr::from(rng.random::<u32>()));
    let row = match rng.random_range(0..20) {
        0 => format!("\"user {user}\",\"{ip}\""),
        1 => format!("\"us\"\"er,{user}\r\n\",{ip},\"{user}\""),
        2 => format!("user_{user},{ip},{user},x"),
        3 => format!("user_{user}"),
        4 => format!("user_{user},{user}"),
        5 => format!(",{ip}"),
        6 => format!("us\"er{user},{ip}\""),
        7 => String::new(),
        8 => format!("user_{user},::ffff:{ip}"),
        9..=12 => format!("user_{user},{}", ipv6(rng)),
        13 => format!("user_{user},{},{}", ipv6(rng), rng.random_range(0..5_000_000_000_u64)),
        14 => format!("user_{user},{ip},2024-05-31T23:59:{:02}Z,x", rng.random_range(0..62)),
        _ => format!("user_{user},{ip}"),
    };
    let end = ["\n", "\n", "\n", "\n", "\r\n", "\r"][rng.random_range(0..6)];
    text.extend_from_slice(row.as_bytes());
    text.extend_from_slice(end.as_bytes());
}
