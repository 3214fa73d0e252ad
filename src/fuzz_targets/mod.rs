//! Targets of fuzzing: each takes any bytes, must not panic, and compares what it reads with a second reading wherever
//! there is one. They are built with `--cfg fuzzing` for libFuzzer, which `tests/fuzz` starts, and for this crate's
//! tests, which replay the kept corpus and mutations of it; no program has them.

#[cfg(test)]
mod differential;
#[cfg(test)]
mod mutate;
#[cfg(test)]
mod tests;

pub use crate::config::fuzz_target::config;
pub use crate::data::fuzz_target::{csv, file, ip, json_lines};
pub use crate::import::fuzz_target::import;
pub use crate::model_folder::fuzz_target::{manifest, safetensors};
pub use crate::serve::fuzz_target::invocations;
pub use crate::sweep::fuzz_target::{journal, sweep};

/// A target.
pub type Target = fn(&[u8]);

/// All targets by their names, which are those of the corpus's folders.
pub const TARGETS: [(&str, Target); 11] = [
    ("config", config),
    ("csv", csv),
    ("file", file),
    ("import", import),
    ("invocations", invocations),
    ("ip", ip),
    ("journal", journal),
    ("json_lines", json_lines),
    ("manifest", manifest),
    ("safetensors", safetensors),
    ("sweep", sweep),
];
