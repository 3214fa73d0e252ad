use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::mutate::{mutate, tokens};
use super::*;

/// Mutated executions of each target, unless `IPSIGHT_FUZZ_EXECUTIONS` says how many.
const EXECUTIONS: usize = 3000;

/// Longer inputs cost more than they find.
const MAX_LEN: usize = 4096;

fn fuzz_folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "fuzz"].iter().collect()
}

/// The kept inputs of a target, in the order of their names.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = fuzz_folder().join("corpus").join(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Fails with the input, so that it can be kept.
fn run(name: &str, target: Target, input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(input))) {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or(panic.downcast_ref::<&str>().copied()).unwrap_or_default();
        panic!("{name}: {said}\nthe input: b\"{}\"", input.escape_ascii());
    }
}

#[test]
fn every_kept_input_of_every_fuzz_target_is_read() {
    for (name, target) in TARGETS {
        let corpus = corpus(name);
        assert!(!corpus.is_empty(), "{name} has no corpus");
        for input in &corpus {
            run(name, target, input);
        }
    }
}

#[test]
fn mutations_of_the_kept_inputs_of_every_fuzz_target_are_read() {
    let executions = std::env::var("IPSIGHT_FUZZ_EXECUTIONS").ok();
    let executions = executions.map_or(EXECUTIONS, |number| number.parse().expect("a number of executions"));
    let tokens = tokens(&fs::read_to_string(fuzz_folder().join("tokens.dict")).unwrap());
    assert!(tokens.len() > 50);
    for (name, target) in TARGETS {
        let corpus = corpus(name);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..executions {
            let mut input = corpus[rng.random_range(0..corpus.len())].clone();
            mutate(&mut input, &corpus, &tokens, &mut rng);
            input.truncate(MAX_LEN);
            run(name, target, &input);
        }
    }
}

/// The targets' assertions are worth something: an input that breaks one is found.
#[test]
fn a_target_that_panics_fails_with_its_input() {
    let target: Target = |input| assert!(!input.contains(&b'!'), "an exclamation mark");
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        for _ in 0..10_000 {
            let mut input = b"hello".to_vec();
            mutate(&mut input, &[], &[b"!".to_vec()], &mut rng);
            run("toy", target, &input);
        }
    }));
    let said = *outcome.unwrap_err().downcast::<String>().unwrap();
    assert!(said.starts_with("toy: an exclamation mark\nthe input: b\"") && said.contains('!'), "{said}");
}
