//! A checksum at the end of each line that a sweep writes, by which an edited or missing line is noticed. Each covers the
//! checksum before it. Lines of Optuna and of optuna-dashboard have none and are passed over; Optuna reads no such field.

const KEY: &str = ",\"check\":\"";
const END: &str = "\"}\n";
const NUM_DIGITS: usize = 16;

/// The checksum of the last line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    last: Option<String>,
}

impl Chain {
    /// Adds a checksum to each of some lines.
    pub fn seal(&mut self, lines: &str) -> String {
        let mut sealed = String::with_capacity(lines.len() + 64);
        for line in lines.split_inclusive('\n') {
            let fields = line.strip_suffix("}\n").expect("an object and a line feed");
            let digits = self.next(fields.as_bytes());
            sealed.extend([fields, KEY, &digits, END]);
            self.last = Some(digits);
        }
        sealed
    }

    /// Whether a line is as it was written, after the one before it. Journals of version 0.1.0 begin without checksums.
    pub fn check(&mut self, line: &[u8]) -> bool {
        let Some((fields, digits)) = split(line) else { return self.last.is_none() };
        let digits_expected = self.next(fields);
        let is_right = digits_expected.as_bytes() == digits;
        self.last = Some(digits_expected);
        is_right
    }

    fn next(&self, fields: &[u8]) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.last.as_deref().unwrap_or_default().as_bytes()).update(fields);
        hasher.finalize().to_hex()[..NUM_DIGITS].to_string()
    }
}

/// The fields before the checksum, and its digits.
fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = line.strip_suffix(END.as_bytes())?;
    let (rest, digits) = line.split_at_checked(line.len().checked_sub(NUM_DIGITS)?)?;
    Some((rest.strip_suffix(KEY.as_bytes())?, digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_changed_moved_or_removed_is_noticed() {
        let lines = Chain::default().seal("{\"a\":1}\n{\"b\":2}\n{\"c\":3}\n");
        let lines: Vec<&str> = lines.split_inclusive('\n').collect();
        let all_right = |lines: &[&str]| {
            let mut chain = Chain::default();
            lines.iter().all(|line| chain.check(line.as_bytes()))
        };
        assert!(all_right(&lines));
        assert!(all_right(&lines[..2]), "a journal that was cut off");
        assert!(!all_right(&lines[1..]) && !all_right(&[lines[0], lines[2]]));
        assert!(!all_right(&[lines[0], lines[2], lines[1]]));
        assert!(!all_right(&[lines[0], &lines[1].replace('2', "3")]));
        assert!(!all_right(&[lines[0], "{\"b\":2}\n"]), "without a checksum");
        assert!(all_right(&["{\"old\":1}\n", lines[0], lines[1]]), "a journal of an earlier version");
    }
}
