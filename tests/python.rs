//! What we write opens in other people's readers, and what they write opens in ours.

mod support;

use support::{ipsight, python};

#[test]
fn pyarrow_reads_a_prepared_file_and_writes_one_that_we_read() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    std::fs::write(root.join("events.csv"), "a,1.2.3.4\nuser_1,255.255.255.255\n").unwrap();
    ipsight(root, &["prepare", "events.csv", "--output", "events.arrow"], b"").expect(0, &[]);
    // 0x20f909ab6f54d5a1 is XXH3-64 of `user_1`, from Python's xxhash.
    let script = "
import pyarrow as pa, pyarrow.ipc
table = pa.ipc.open_file('events.arrow').read_all()
assert table.schema.names == ['entity', 'address'], table.schema
assert table.schema.field('entity').type == pa.uint64() and table.schema.field('address').type == pa.uint64()
assert table['address'].to_pylist() == [0x01020304, 0xffffffff], table
assert table['entity'][1].as_py() == 0x20f909ab6f54d5a1, table
assert table.schema.metadata[b'ipsight.entity_hash'] == b'xxh3_64:v1', table.schema.metadata
with pa.ipc.new_file('theirs.arrow', table.schema) as writer:
    for rows in (1, 3, 2):
        writer.write_table(pa.concat_tables([table] * rows))
";
    if !python(root, "pyarrow", &["-c", script]) {
        return;
    }
    let args = ["train", "--train", "theirs.arrow", "--device", "ndarray", "--output", "run", "--json"];
    let small = ["--set", "hyperparameters.num_entity_vectors=10", "--set", "hyperparameters.epochs=1"];
    let done = ipsight(root, &[&args[..], &small].concat(), b"").expect(0, &[]).json_lines().pop().unwrap();
    assert_eq!(done["num_events"], 12);
}

#[test]
fn python_reads_the_weights_and_computes_our_scores() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let events: String = (0..40).map(|i| format!("user_{},10.{}.0.1\n", i % 8, i % 8)).collect();
    std::fs::write(root.join("events.csv"), events).unwrap();
    let train = ["train", "--train", "events.csv", "--device", "ndarray", "--output", "run"];
    let small = [
        "--set",
        "hyperparameters.num_entity_vectors=20",
        "--set",
        "hyperparameters.vector_dim=8",
        "--set",
        "hyperparameters.epochs=30",
        "--set",
        "hyperparameters.num_ip_encoder_layers=2",
        "--set",
        "hyperparameters.learning_rate=0.01",
    ];
    ipsight(root, &[&train[..], &small].concat(), b"").expect(0, &[]);
    let args = ["score", "--model", "run/model", "--device", "ndarray", "--input", "events.csv"];
    ipsight(root, &[&args[..], &["--output", "scores.csv"]].concat(), b"").expect(0, &[]);
    let script = "
import csv, ipaddress, os, numpy as np
from safetensors.numpy import load_file
weights = load_file('run/model/model.safetensors')
assert os.stat('run/model/model.safetensors').st_mode & 0o044, 'others can read it, as the umask allows'
table, counts = weights['entity_embedding.weight'], weights['entity_row_counts']
assert table.shape == (20, 8) and counts.sum() == 40, (table.shape, counts)
rows = {f'user_{i}': h % 20 for i, h in enumerate(HASHES)}
scored = list(csv.DictReader(open('scores.csv')))
assert len(scored) == 40
for row in scored:
    ip = int(ipaddress.IPv4Address(row['ip']))
    h = np.array([2.0 * (ip >> (31 - k) & 1) - 1 for k in range(32)], dtype=np.float32)
    for l in range(3):
        h = h @ weights[f'ip_encoder.layers.{l}.weight'] + weights[f'ip_encoder.layers.{l}.bias']
        h = np.maximum(h, 0) if l < 2 else h
    expected = float(table[rows[row['entity']]] @ h)
    assert abs(expected - float(row['dot_product'])) < 1e-4, (row, expected)
    assert counts[rows[row['entity']]] > 0
";
    let hashes: Vec<String> =
        (0..8).map(|i| ipsight::event::hash_entity(format!("user_{i}").as_bytes()).to_string()).collect();
    let script = script.replace("HASHES", &format!("[{}]", hashes.join(", ")));
    python(root, "numpy, safetensors", &["-c", &script]);
}
