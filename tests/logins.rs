//! The main job on real input: the reference's hyperparameters on 2,225,468 generated logins.

mod support;

use support::{ipsight, skipped};

/// Minutes of training, so it runs where `IPSIGHT_LOGINS` names the folder of train.csv.gz and
/// validation.csv.gz, as in CI, and says `skipped` elsewhere.
#[test]
fn the_reference_model_reaches_its_auc() {
    let Some(logins) = std::env::var_os("IPSIGHT_LOGINS") else {
        skipped("IPSIGHT_LOGINS is not set");
        return;
    };
    let logins = std::path::PathBuf::from(logins);
    let path = |name: &str| logins.join(name).to_str().unwrap().to_string();
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/sagemaker.toml");
    let folder = tempfile::tempdir().unwrap();
    let (train, validation) = (path("train.csv.gz"), path("validation.csv.gz"));
    let mut args =
        vec!["train", "--config", config, "--train", &train, "--validation", &validation, "--json"];
    args.extend(["--device", "ndarray", "--output", "run"]);
    for set in ["num_entity_vectors=20000", "mini_batch_size=10000", "learning_rate=0.005", "epochs=3"] {
        args.extend(["--set", Box::leak(format!("hyperparameters.{set}").into_boxed_str())]);
    }
    let done = ipsight(folder.path(), &args, b"").expect(0, &[]).json_lines().pop().unwrap();
    assert_eq!(done["num_events"], 2_225_468);
    assert!(done["discriminator_auc"].as_f64().unwrap() >= 0.990, "{done}");
}
