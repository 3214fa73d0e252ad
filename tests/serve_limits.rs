//! A server that may have few threads, files or little memory: it says so and ends, or it listens and holds.

mod support;

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use support::server::{Client, Ended, Server};
use support::{generated_and_trained, skipped};
use tempfile::TempDir;

const CONFIG: &str = "[hyperparameters]\nnum_entity_vectors = 2000\nvector_dim = 32\nepochs = 1\nmini_batch_size = 500\n\
    [data]\ntrain = [\"logins/train.csv\"]\n[training]\ndevice = \"ndarray\"\n";

/// A folder that every user may read, with the program in it: limits of threads count those of a user, who is another one
/// than the tests'.
static FIXTURE: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = generated_and_trained("100", "53", CONFIG);
    let program = folder.path().join("ipsight");
    if fs::hard_link(env!("CARGO_BIN_EXE_ipsight"), &program).is_err() {
        fs::copy(env!("CARGO_BIN_EXE_ipsight"), &program).unwrap();
    }
    open(folder.path());
    folder
});

fn open(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| open(&entry.unwrap().path()));
    }
}

/// A server below `limiter`, a program and its arguments.
fn start(limiter: &[String], options: &[&str]) -> Result<Server, Ended> {
    let root = FIXTURE.path();
    let program: PathBuf = root.join("ipsight");
    let mut command = match limiter.split_first() {
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
        None => Command::new(program),
    };
    command.args(["serve", "--model", "run/model", "--device", "ndarray"]);
    command
        .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .args(options)
        .current_dir(root);
    Server::try_start(command)
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// Fails unless the server does all that it can: what is short and what is long, explanations, reloads, signals.
/// A reload is answered with one of `reloads`.
fn check(server: &mut Server, what: &str, reloads: &[u16]) {
    let long = "user_1,203.0.113.7\n".repeat(40_000);
    for _ in 0..2 {
        let mut client = Client::connect(server.address);
        let mut admin = Client::connect(server.admin);
        for body in ["user_1,203.0.113.7\n", &long] {
            let (status, body) = client.post("/invocations", "text/csv", body).unwrap();
            assert_eq!(status, 200, "{what}: {body:.200}");
        }
        let verbose = ["Accept: application/json;verbose=True"];
        assert_eq!(
            client.ask("POST", "/invocations", &verbose, "user_1,203.0.113.7\n").unwrap().0,
            200,
            "{what}"
        );
        let explain = r#"{"entity":"user_1","ip":"203.0.113.7"}"#;
        assert_eq!(client.post("/v1/explain", "application/json", explain).unwrap().0, 200, "{what}");
        server.signal("HUP");
        let (status, body) = admin.post("/reload", "text/plain", "").unwrap();
        assert!(reloads.contains(&status), "{what}: {status} {body}");
        // The watcher looks meanwhile.
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(server.runs(), "{what}");
    }
}

/// Starts servers with limits, the tightest first: each is refused with one of `codes` and a reason that has one of `words`,
/// or does all that a server does. The first is refused, and the last is not.
fn each_says_so_or_holds(
    limits: &[u64],
    codes: &[i32],
    reloads: &[u16],
    reasons: &[&str],
    start: impl Fn(u64) -> Result<Server, Ended>,
) {
    let mut has_held = false;
    for (i, limit) in limits.iter().enumerate() {
        match start(*limit) {
            Ok(mut server) => {
                assert!(i > 0, "{limit}: the tightest limit changes nothing");
                check(&mut server, &format!("a limit of {limit}"), reloads);
                server.stop();
                has_held = true;
            }
            Err(Ended { code, said }) => {
                assert!(code.is_some_and(|code| codes.contains(&code)), "{limit}: {code:?}\n{said}");
                assert!(reasons.iter().any(|reason| said.contains(reason)), "{limit}: {said}");
                assert!(!said.contains("panicked") && !has_held, "{limit}: {said}");
            }
        }
    }
    assert!(has_held, "no limit is enough");
}

/// Programs that run another one as a user that runs nothing else; none where the system has no way to.
fn as_another_user() -> Option<Vec<String>> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let id = 700_000 + std::process::id() % 50_000 + NEXT.fetch_add(1, Ordering::Relaxed);
    let ways = [
        format!("setpriv --reuid {id} --regid {id} --clear-groups"),
        // Without privileges: users of another namespace are counted apart.
        "unshare --user --map-current-user".into(),
    ];
    let works = |way: &Vec<String>| {
        let run = Command::new(&way[0])
            .args(&way[1..])
            .args([FIXTURE.path().join("ipsight").as_os_str(), "--version".as_ref()])
            .output();
        run.is_ok_and(|output| output.status.success())
    };
    ways.iter().map(|way| words(way)).find(works)
}

const FEW_CONNECTIONS: [&str; 2] = ["--max-connections", "64"];
const WATCHING: [&str; 2] = ["--watch-interval", "0.01"];

#[test]
fn few_threads_are_an_error_at_the_start_or_enough() {
    let Some(user) = as_another_user() else {
        skipped("neither setpriv nor unshare gives a user whose threads are counted apart");
        return;
    };
    let cores = std::thread::available_parallelism().unwrap().get() as u64;
    let limits = [1, 2, 4, 4 + cores, 4 + 2 * cores, 4 + 3 * cores, 8 + 5 * cores];
    each_says_so_or_holds(&limits, &[5], &[200], &["cannot start the thread"], |limit| {
        let mut limiter = words(&format!("prlimit --nproc={limit}:{limit}"));
        limiter.extend(user.clone());
        start(&limiter, &[&FEW_CONNECTIONS[..], &WATCHING].concat())
    });
}

#[test]
fn few_open_files_are_an_error_at_the_start_or_enough() {
    let limits = [16, 64, 128, 192, 256, 1024];
    let reasons = ["--max-connections", "open files", "Too many open files"];
    each_says_so_or_holds(&limits, &[2, 4, 5], &[200], &reasons, |limit| {
        let limiter = words(&format!("prlimit --nofile={limit}:{limit}"));
        let mut server = start(&limiter, &[&FEW_CONNECTIONS[..], &WATCHING].concat())?;
        // More connections than there may be, of which none says a word: they cost others their place, and end it for none.
        let silent: Vec<_> = (0..400).filter_map(|_| TcpStream::connect(server.address).ok()).collect();
        let mut admin = Client::connect(server.admin);
        assert_eq!(admin.post("/reload", "text/plain", "").unwrap().0, 200, "{limit}");
        drop(silent);
        // The server has to see that they are closed.
        while !Client::connect(server.address)
            .ask("GET", "/ping", &[], "")
            .is_ok_and(|(status, _)| status == 200)
        {
            assert!(server.runs(), "{limit}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Ok(server)
    });
}

#[test]
fn little_memory_is_an_error_at_the_start_or_enough() {
    let mib = 1 << 20;
    let limits = [8, 16, 64, 128, 192, 384, 2048].map(|limit| limit * mib);
    let queue = ["--max-queue-bytes", "16000000", "--max-body-bytes", "4000000"];
    let reasons = ["memory", "limit of data", "cannot start the thread"];
    // There may be no room for a second copy of the model beside what the allocator keeps.
    each_says_so_or_holds(&limits, &[5], &[200, 507], &reasons, |limit| {
        let limiter = words(&format!("prlimit --data={limit}:{limit}"));
        let mut server = start(&limiter, &[&FEW_CONNECTIONS[..], &WATCHING, &queue].concat())?;
        // As much as may be at once, and more: answered or refused, and the server is there after it.
        let body = "user_1,203.0.113.7\n".repeat(200_000);
        std::thread::scope(|scope| {
            for i in 0..12 {
                let (body, address) = (&body, server.address);
                scope.spawn(move || {
                    for _ in 0..3 {
                        let accept =
                            ["Accept: application/json", "Accept: application/json;verbose=True"][i % 2];
                        let answer = Client::connect(address).ask("POST", "/invocations", &[accept], body);
                        let (status, body) = answer.unwrap();
                        assert!([200, 413, 503].contains(&status), "{limit}: {status} {body:.200}");
                    }
                });
            }
        });
        assert!(server.runs(), "{limit}");
        Ok(server)
    });
}
