//! What the tests share.

#![allow(dead_code)] // each test file uses a part

pub mod expected_scores;
pub mod failpoints;
pub mod server;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use burn::tensor::Device;
use ipsight::config::DeviceChoice;
use ipsight::device;

/// The devices that tests run on: ndarray always, and wgpu where an adapter exists, software or not.
///
/// With `IPSIGHT_REQUIRE_WGPU` set, as in CI, a missing adapter is a failure rather than a skip.
pub fn devices() -> Vec<(&'static str, Device)> {
    let mut devices = vec![("ndarray", device::choose(DeviceChoice::Ndarray).unwrap().device)];
    devices.extend(wgpu().map(|device| ("wgpu", device)));
    devices
}

/// The wgpu device, or none after saying `skipped`.
pub fn wgpu() -> Option<Device> {
    match device::choose(DeviceChoice::Wgpu) {
        Ok(device) => Some(device.device),
        Err(error) => {
            assert!(std::env::var_os("IPSIGHT_REQUIRE_WGPU").is_none(), "{error}");
            skipped(&error.to_string());
            None
        }
    }
}

/// Says that a test is skipped, past the test runner, which would hide what a passing test prints.
pub fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

/// Runs Python with `args` in `folder` and fails where it fails; false after saying `skipped` where one of `modules`
/// is missing. With `IPSIGHT_REQUIRE_PYTHON` set, as in CI, a missing module is a failure.
pub fn python(folder: &Path, modules: &str, args: &[&str]) -> bool {
    let run = |args: &[&str]| {
        // Beside a script there is nothing to be left behind.
        Command::new("python3").args(args).env("PYTHONDONTWRITEBYTECODE", "1").current_dir(folder).output()
    };
    if !run(&["-c", &format!("import {modules}")]).is_ok_and(|output| output.status.success()) {
        assert!(std::env::var_os("IPSIGHT_REQUIRE_PYTHON").is_none(), "python3 cannot import {modules}");
        skipped(&format!("python3 cannot import {modules}"));
        return false;
    }
    let output = run(args).unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    true
}

/// Collects mismatches, so that one run shows all of them.
#[derive(Default)]
pub struct Mismatches {
    found: Vec<String>,
    num_checked: usize,
}

impl Mismatches {
    /// Compares element by element: |found - expected| must be at most `tolerance`.
    pub fn check(&mut self, what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
        if found.len() != expected.len() {
            self.found.push(format!("{what}: {} elements instead of {}", found.len(), expected.len()));
            return;
        }
        self.num_checked += found.len();
        let worst = found.iter().zip(expected).map(|(f, e)| (f - e).abs()).enumerate();
        if let Some((i, difference)) = worst.max_by(|a, b| a.1.total_cmp(&b.1))
            && (difference.is_nan() || difference > tolerance)
        {
            let (f, e) = (found[i], expected[i]);
            self.found.push(format!("{what}: element {i} is {f}, not {e} (off by {difference:e})"));
        }
    }

    /// Fails with every mismatch.
    pub fn assert_none(self) {
        assert!(self.num_checked > 0, "nothing was compared");
        assert!(self.found.is_empty(), "{} mismatches:\n{}", self.found.len(), self.found.join("\n"));
    }
}

/// The binary with arguments, to be run in `folder`.
pub fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ipsight"));
    command.args(args).current_dir(folder);
    command
}

/// Runs the binary in `folder` with text on stdin.
pub fn ipsight(folder: &Path, args: &[&str], stdin: &[u8]) -> Outcome {
    outcome(command(folder, args), stdin)
}

/// Runs a command with text on stdin.
pub fn outcome(mut command: Command, stdin: &[u8]) -> Outcome {
    use std::process::Stdio;

    let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    // A verb that fails early does not read its stdin.
    let _ = pipe.write_all(stdin);
    drop(pipe);
    Outcome { args: args.join(" "), ..Outcome::of(child) }
}

/// Writes the checksum into a manifest that was edited, as if it had been written so.
pub fn reseal_manifest(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap();
    let (before, rest) = text.split_once("\"checksum\": \"").unwrap();
    let before = format!("{before}\"checksum\": \"");
    let after = &rest[rest.find('"').unwrap()..];
    let digits = blake3::hash(format!("{before}{after}").as_bytes()).to_hex();
    std::fs::write(path, format!("{before}{digits}{after}")).unwrap();
}

/// Figures of a run without what a clock says.
pub fn figures(run: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let without_clock = |line: &str| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        for key in ["seconds", "positives_per_second"] {
            line.as_object_mut().unwrap().remove(key);
        }
        line
    };
    text.lines().map(without_clock).collect()
}

/// What a run of the binary gave.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    args: String,
}

impl Outcome {
    /// That of a process whose stdin is closed, when it has ended.
    pub fn of(child: std::process::Child) -> Self {
        let output = child.wait_with_output().unwrap();
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            args: String::new(),
        }
    }

    /// Fails, showing everything, unless the exit code is this one and stderr holds every one of `words`.
    #[track_caller]
    pub fn expect(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "ipsight {}\n{}\n{}", self.args, self.stdout, self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "ipsight {}: no `{word}` in\n{}", self.args, self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "ipsight {}\n{}", self.args, self.stderr);
        self
    }

    /// Stdout as JSON, one value a line.
    pub fn json_lines(&self) -> Vec<serde_json::Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    /// Stdout as one JSON document.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).expect(&self.stdout)
    }
}

/// A folder with `logins/` of as many made-up users, and `run/`, a training by `config`, TOML that names them.
pub fn generated_and_trained(users: &str, seed: &str, config: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let generate = ["generate", "--users", users, "--days", "10", "--seed", seed, "--output", "logins"];
    ipsight(root, &generate, b"").expect(0, &[]);
    std::fs::write(root.join("small.toml"), config).unwrap();
    ipsight(root, &["train", "--config", "small.toml", "--output", "run"], b"").expect(0, &[]);
    folder
}

/// The configuration of a small engine for [`generated_and_trained`].
pub fn small_config(epochs: u32) -> String {
    format!(
        r#"
[hyperparameters]
num_entity_vectors = 400
vector_dim = 8
mini_batch_size = 500
learning_rate = 0.02
epochs = {epochs}
[training]
device = "ndarray"
[data]
train = ["logins/train.csv"]
"#
    )
}

/// The rows of the `trials.csv` of a sweep's folder, by column.
pub fn trials(folder: &Path) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_path(folder.join("trials.csv")).unwrap();
    let names = reader.headers().unwrap().clone();
    let row =
        |row: csv::StringRecord| names.iter().map(String::from).zip(row.iter().map(String::from)).collect();
    reader.records().map(|record| row(record.unwrap())).collect()
}
