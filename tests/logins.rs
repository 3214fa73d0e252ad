//! The main jobs on 2,225,468 generated logins in the reference notebook's format.

mod support;

use support::{ipsight, skipped};

/// Trains on the logins of the folder that `IPSIGHT_LOGINS` names, as in CI, and returns the last event; says
/// `skipped` and returns nothing elsewhere.
fn train(config: &str, hyperparameters: &[&str]) -> Option<serde_json::Value> {
    let Some(logins) = std::env::var_os("IPSIGHT_LOGINS") else {
        skipped("IPSIGHT_LOGINS is not set");
        return None;
    };
    let logins = std::path::PathBuf::from(logins);
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
    Some(done)
}

#[test]
fn the_reference_model_reaches_its_auc() {
    let job = ["num_entity_vectors=20000", "mini_batch_size=10000", "learning_rate=0.005", "epochs=3"];
    let Some(done) = train("sagemaker.toml", &job) else { return };
    assert!(done["discriminator_auc"].as_f64().unwrap() >= 0.990, "{done}");
}

#[test]
fn the_default_model_is_better_still() {
    let Some(done) = train("default.toml", &["num_entity_vectors=20000"]) else { return };
    assert!(done["discriminator_auc"].as_f64().unwrap() >= 0.995, "{done}");
}
