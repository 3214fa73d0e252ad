//! A sweep on more than one machine: `examples/ray_sweep.py`, on a Ray cluster of two nodes here.

mod support;

use std::path::Path;

use support::python;

#[test]
fn a_sweep_outlives_one_of_two_nodes_and_comes_to_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join(name).display().to_string();
    let args =
        [&path("tests/ray_two_nodes.py"), env!("CARGO_BIN_EXE_ipsight"), &path("examples/ray_sweep.py")];
    python(folder.path(), "ray", &args);
}
