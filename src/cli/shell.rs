//! Commands that people copy into a shell.

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;

/// The name under which this program was started, quoted.
pub fn program() -> String {
    quoted(std::env::args_os().next().unwrap_or_else(|| OsString::from("ipsight")))
}

/// An argument as a POSIX shell reads it back byte by byte. What is no text, or would not be seen, is written as `$'…'`
/// (POSIX 2024), with escapes.
pub fn quoted(argument: impl AsRef<OsStr>) -> String {
    let bytes = argument.as_ref().as_bytes();
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(byte);
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && bytes.iter().all(is_plain) => text.into(),
        Ok(text) if !text.chars().any(char::is_control) => format!("'{}'", text.replace('\'', r"'\''")),
        _ => escaped(bytes),
    }
}

fn escaped(bytes: &[u8]) -> String {
    let mut text = String::from("$'");
    for byte in bytes {
        match byte {
            b'\'' | b'\\' => text.extend(['\\', char::from(*byte)]),
            b' '..=b'~' => text.push(char::from(*byte)),
            // Three octal digits: a digit behind them does not belong to the escape.
            _ => _ = write!(text, "\\{byte:03o}"),
        }
    }
    text + "'"
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn plain_words_stay_and_others_are_quoted() {
        for (argument, expected) in [
            ("runs/default-1/model", "runs/default-1/model"),
            ("", "''"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("$HOME;`x`", "'$HOME;`x`'"),
            ("é", "'é'"),
            ("a\n1", r"$'a\0121'"),
        ] {
            assert_eq!(quoted(argument), expected);
        }
    }

    /// `$'…'` is newer than some shells.
    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        let all: Vec<u8> = (1..=255).collect();
        let bash = Command::new("bash").args(["-c", "true"]).status().is_ok_and(|status| status.success());
        let cases: [(&str, &[u8]); 5] = [
            ("sh", b"it's a \"path\" $HOME \\ `x` *"),
            ("sh", "é ü".as_bytes()),
            ("bash", b"\xff\xfe"),
            ("bash", b"'\\\n\t"),
            ("bash", &all),
        ];
        for (shell, argument) in cases {
            if shell == "bash" && !bash {
                continue;
            }
            let command = format!("printf %s {}", quoted(OsStr::from_bytes(argument)));
            let output = Command::new(shell).args(["-c", &command]).output().unwrap();
            assert_eq!(output.stdout, argument, "{command}");
        }
    }
}
