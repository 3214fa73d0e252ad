//! The main jobs on 2,225,468 generated logins in the reference notebook's format.

mod support;

use std::path::PathBuf;

use serde_json::Value;
use support::{ipsight, skipped};
use tempfile::TempDir;

/// A training on the logins of the folder that `IPSIGHT_LOGINS` names, as in CI.
struct Trained {
    logins: PathBuf,
    folder: TempDir,
    done: Value,
}

/// Says `skipped` and returns nothing where there are no logins.
fn train(config: &str, hyperparameters: &[&str]) -> Option<Trained> {
    let Some(logins) = std::env::var_os("IPSIGHT_LOGINS") else {
        skipped("IPSIGHT_LOGINS is not set");
        return None;
    };
    let logins = PathBuf::from(logins);
    let path = |name: &str| logins.join(name).to_str().unwrap().to_string();
    let config = format!("{}/configs/{config}", env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let (train, validation) = (path("train.csv.gz"), path("validation.csv.gz"));
    let mut args =
        vec!["train", "--config", &config, "--train", &train, "--validation", &validation, "--json"];
    args.extend(["--device", "ndarray", "--output", "run"]);
    let settings: Vec<String> = hyperparameters.iter().map(|set| format!("hyperparameters.{set}")).collect();
    settings.iter().for_each(|set| args.extend(["--set", set]));
    let done = ipsight(folder.path(), &args, b"").expect(0, &[]).json_lines().pop().unwrap();
    assert_eq!(done["num_events"], 2_225_468);
    Some(Trained { logins, folder, done })
}

#[test]
fn the_reference_model_reaches_its_auc() {
    let job = ["num_entity_vectors=20000", "mini_batch_size=10000", "learning_rate=0.005", "epochs=3"];
    let Some(Trained { done, .. }) = train("sagemaker.toml", &job) else { return };
    assert!(done["discriminator_auc"].as_f64().unwrap() >= 0.990, "{done}");
}

/// Its engine has a quarter of the floats and is about as good; with the usage history it is better by far.
#[test]
fn the_recommended_model_is_better_still() {
    let Some(Trained { logins, folder, done }) = train("default.toml", &[]) else { return };
    assert!(done["discriminator_auc"].as_f64().unwrap() >= 0.988, "{done}");
    let test = logins.join("test.csv.gz");
    let evaluate = ["evaluate", "--model", "run/model", "--device", "ndarray", "--json", "--data"];
    let evaluation = ipsight(folder.path(), &[&evaluate[..], &[test.to_str().unwrap()]].concat(), b"");
    let evaluation = evaluation.expect(0, &[]).json();
    assert!(evaluation["auc"].as_f64().unwrap() >= 0.994, "{}", evaluation["auc"]);
}
