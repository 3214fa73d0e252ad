//! Paths that are unusual and right: links that lead nowhere yet, names that a shell would take apart, and names that are
//! not UTF-8.

mod support;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use support::{Outcome, command, generated_and_trained, ipsight, outcome, small_config};
use tempfile::TempDir;

/// Logins with a model of them.
static FIXTURE: LazyLock<TempDir> = LazyLock::new(|| generated_and_trained("60", "5", &small_config(1)));

fn root() -> &'static Path {
    FIXTURE.path()
}

fn model() -> String {
    root().join("run/model").display().to_string()
}

fn run(folder: &Path, args: &[&OsStr]) -> Outcome {
    let mut command = command(folder, &[]);
    command.args(args);
    outcome(command, b"")
}

/// A folder with the configuration and the logins.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["small.toml", "logins"] {
        symlink(root().join(name), folder.path().join(name)).unwrap();
    }
    folder
}

#[test]
fn an_output_behind_a_link_that_leads_nowhere_is_made_where_it_leads() {
    let folder = folder();
    let root = folder.path();
    let model = model();
    let is_link = |name: &str| root.join(name).is_symlink();
    let link = |name: &str| symlink(format!("real_{name}"), root.join(name)).unwrap();
    for (name, args) in [
        ("scores.csv", &["score", "--model", &model, "--input", "logins/test.csv", "--output"][..]),
        ("prepared.arrow", &["prepare", "logins/test.csv", "--output"]),
        ("report.html", &["evaluate", "--model", &model, "--data", "logins/test.csv", "--report"]),
        ("plots", &["evaluate", "--model", &model, "--data", "logins/test.csv", "--plots"]),
        ("generated", &["generate", "--users", "20", "--days", "10", "--output"]),
        ("run", &["train", "--config", "small.toml", "--output"]),
    ] {
        link(name);
        ipsight(root, &[args, &[name]].concat(), b"").expect(0, &[]);
        assert!(is_link(name) && root.join(format!("real_{name}")).exists(), "{name}");
    }
    ipsight(root, &["inspect", "--model", "real_run/model"], b"").expect(0, &[]);
    // Again, now that it leads somewhere.
    let score = ["score", "--model", &model, "--input", "logins/test.csv", "--output", "scores.csv"];
    ipsight(root, &score, b"").expect(0, &[]);
    assert!(is_link("scores.csv"));

    let piped = ipsight(root, &[&score[..6], &["/dev/stdout"]].concat(), b"").expect(0, &[]).stdout;
    assert_eq!(piped, fs::read_to_string(root.join("scores.csv")).unwrap(), "a pipe has no path of its own");

    symlink("absent/folder/scores.csv", root.join("nowhere.csv")).unwrap();
    let nowhere = [&score[..6], &["nowhere.csv"]].concat();
    ipsight(root, &nowhere, b"").expect(4, &["absent/folder/scores.csv", "help:"]);
    symlink("round.csv", root.join("round.csv")).unwrap();
    ipsight(root, &[&score[..6], &["round.csv"]].concat(), b"").expect(4, &["round.csv"]);
}

/// What a verb prints behind `next:`, run by a shell.
fn run_next(folder: &Path, shell: &str, stdout: &[u8]) -> std::process::Output {
    let text = stdout.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"next: ")).unwrap();
    Command::new(shell).arg("-c").arg(OsStr::from_bytes(text)).current_dir(folder).output().unwrap()
}

#[test]
fn the_next_command_can_be_copied_into_a_shell_whatever_its_paths_are() {
    let folder = folder();
    let root = folder.path();
    // The program's own path, too.
    let program = root.join("the \"program\"");
    symlink(env!("CARGO_BIN_EXE_ipsight"), &program).unwrap();
    let names = ["a b", "it's $HOME `x`", "\"quoted\" & more", "é*?"];
    let names = names.map(OsString::from).into_iter().chain([OsStr::from_bytes(b"not \xff utf-8'").into()]);
    for name in names {
        let mut train = Command::new(&program);
        train.args(["train", "--config", "small.toml", "--output"]).arg(&name).current_dir(root);
        let trained = train.output().unwrap();
        assert!(trained.status.success(), "{}", String::from_utf8_lossy(&trained.stderr));
        let shell = if name.to_str().is_some() { "sh" } else { "bash" };
        let scored = run_next(root, shell, &trained.stdout);
        let (stdout, stderr) =
            (String::from_utf8_lossy(&scored.stdout), String::from_utf8_lossy(&scored.stderr));
        assert!(stdout.contains("\nuser_1,203.0.113.7,"), "{name:?}: {stdout}{stderr}");
    }
}

#[test]
fn inputs_that_are_not_utf8_are_read() {
    let folder = folder();
    let root = folder.path();
    let name = |text: &[u8]| OsStr::from_bytes(text).to_os_string();
    let (file, prepared) = (name(b"log\xff.csv"), name(b"log\xfe.arrow"));
    let inputs = name(b"in\xff");
    fs::copy(root.join("logins/test.csv"), root.join(&file)).unwrap();
    fs::create_dir(root.join(&inputs)).unwrap();
    fs::copy(root.join("logins/test.csv"), root.join(&inputs).join(&file)).unwrap();
    let model = model();
    let args = |words: &[&str], path: &OsStr, more: &[&str]| {
        let words = words.iter().map(OsString::from).chain([path.to_os_string()]);
        words.chain(more.iter().map(OsString::from)).collect::<Vec<_>>()
    };
    let check = |words: &[&str], path: &OsStr, more: &[&str]| {
        let args = args(words, path, more);
        run(root, &args.iter().map(OsString::as_os_str).collect::<Vec<_>>()).expect(0, &[])
    };
    let score = ["score", "--model", &model, "--input"];
    let expected = check(&score, OsStr::new("logins/test.csv"), &[]).stdout;
    for path in [&file, &inputs, &name(b"log?.csv"), &name(b"in*/*.csv")] {
        assert_eq!(check(&score, path, &[]).stdout, expected, "{path:?}");
    }
    check(&["prepare", "logins/test.csv", "--output"], &prepared, &[]);
    check(&["evaluate", "--model", &model, "--history", "logins/train.csv", "--data"], &file, &[]);
    check(&["evaluate", "--model", &model, "--data", "logins/test.csv", "--history"], &prepared, &[]);
    check(&["compare", &model, &model, "--data"], &file, &[]);
    let log = "Nov 10 10:00:00 host sshd[1]: Accepted password for alice from 203.0.113.7 port 22 ssh2\n";
    fs::write(root.join(name(b"auth\xff.log")), log).unwrap();
    let imported = check(&["import", "sshd", "--input"], &name(b"auth\xff.log"), &["--output", "-"]).stdout;
    assert!(imported.contains("alice,203.0.113.7"), "{imported}");
    let train =
        ["train", "--config", "small.toml", "--output", "run", "--validation", "logins/test.csv", "--train"];
    check(&train, &file, &[]);
    check(&["train", "--config", "small.toml", "--overwrite", "--output", "run", "--train"], &prepared, &[]);
    // A configuration is text: it has the nearest name.
    assert!(fs::read_to_string(root.join("run/config.toml")).unwrap().contains("log\u{fffd}.arrow"));

    let sweep = "base = \"small.toml\"\nmethod = \"random\"\n[budget]\ntrials = 1\n\
                 [parameters.learning_rate]\nlog_uniform = [0.001, 0.1]\n";
    fs::write(root.join("sweep.toml"), sweep).unwrap();
    let sweep = ["sweep", "--config", "sweep.toml", "--validation", "logins/test.csv"];
    for (output, path) in [("from_text", &file), ("from_prepared", &prepared)] {
        check(&[&sweep[..], &["--output", output, "--train"]].concat(), path, &[]);
        check(&[&sweep[..], &["--output", output, "--resume", "--train"]].concat(), path, &[]);
    }

    let glob = name(b"absent\xff*.csv");
    let args = args(&score, &glob, &[]);
    let args: Vec<&OsStr> = args.iter().map(OsString::as_os_str).collect();
    run(root, &args).expect(2, &["a glob has to be UTF-8", "help: write `?` for each byte that is not"]);
}
