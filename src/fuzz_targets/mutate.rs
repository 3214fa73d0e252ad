//! Mutations of inputs, the same for the same seed.

use rand::{Rng, RngExt};

/// What inputs are made of: the tokens of a dictionary in libFuzzer's form.
pub fn tokens(dictionary: &str) -> Vec<Vec<u8>> {
    let quoted = |line: &str| Some(line.trim().strip_prefix('"')?.strip_suffix('"')?.to_owned());
    dictionary.lines().filter_map(quoted).map(|token| unescaped(&token)).collect()
}

fn unescaped(token: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = token.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'\\', [b'x', high, low, after @ ..]) => {
                let digits =
                    std::str::from_utf8(&[*high, *low]).map(str::to_owned).expect("hexadecimal digits");
                bytes.push(u8::from_str_radix(&digits, 16).expect("hexadecimal digits"));
                rest = after;
            }
            (b'\\', [escaped, after @ ..]) => {
                bytes.push(*escaped);
                rest = after;
            }
            _ => bytes.push(*first),
        }
    }
    bytes
}

/// Changes `input` in one to eight places.
pub fn mutate(input: &mut Vec<u8>, others: &[Vec<u8>], tokens: &[Vec<u8>], rng: &mut impl Rng) {
    for _ in 0..rng.random_range(1..=8) {
        let at = rng.random_range(0..=input.len());
        let rest = input.len() - at;
        let len = rng.random_range(0..=rest.min(16));
        match rng.random_range(0..10) {
            0 if rest > 0 => input[at] = rng.random(),
            1 if rest > 0 => input[at] ^= 1 << rng.random_range(0..8),
            2 => input.insert(at, rng.random()),
            3 => drop(input.drain(at..at + len)),
            4 => input.truncate(at),
            5 => {
                let copied = input[at..at + len].to_vec();
                let to = rng.random_range(0..=input.len());
                input.splice(to..to, copied);
            }
            6 if !others.is_empty() => {
                let other = &others[rng.random_range(0..others.len())];
                let start = rng.random_range(0..=other.len());
                let end = rng.random_range(start..=other.len().min(start + 64));
                input.splice(at..at, other[start..end].iter().copied());
            }
            // A number in the place of a digit.
            7 if rest > 0 && input[at].is_ascii_digit() => {
                let numbers =
                    ["0", "255", "256", "-1", "1e999", "18446744073709551616", "00", "9223372036854775807"];
                input.splice(at..=at, numbers[rng.random_range(0..numbers.len())].bytes());
            }
            _ if !tokens.is_empty() => {
                let token = &tokens[rng.random_range(0..tokens.len())];
                let replaced = if rng.random() { len } else { 0 };
                input.splice(at..at + replaced, token.iter().copied());
            }
            _ => {}
        }
    }
}
