//! The layers of ARCHITECTURE.md hold, and no file imports itself by a detour.
//!
//! `modules` finds the modules of a crate and the names in them, `imports` what each file takes from others, `graph`
//! circles and layers. Test code is left out: it may look at everything.

mod fixtures;
mod graph;
mod imports;
mod modules;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use graph::{Layers, circles, upward};
use imports::{Imports, imports};
use modules::Sources;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All `.rs` files below a folder, by their paths from the repository's root.
fn read_sources(folder: &str) -> Sources {
    let mut sources = Sources::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                sources.insert(path.strip_prefix(root()).unwrap().to_path_buf(), text);
            }
        }
    }
    sources
}

/// The crates of the workspace below `crates`, by their source folders.
fn small_crates() -> Vec<String> {
    let Ok(entries) = fs::read_dir(root().join("crates")) else { return Vec::new() };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.map(|name| format!("crates/{name}/src")).filter(|source| root().join(source).is_dir()).collect()
}

/// The imports of a crate. Every file of its folder must be reached from a root, or what it imports would go unseen.
fn imports_of(folder: &str, roots: &[(&str, &str)]) -> Imports {
    let sources = read_sources(folder);
    let found = imports(&sources, roots);
    let reached: Vec<&PathBuf> = found.files.iter().chain(&found.test_files).collect();
    let missed: Vec<_> = sources.keys().filter(|path| !reached.contains(path)).collect();
    assert!(missed.is_empty(), "no module declares {missed:?}");
    assert!(found.unresolved.is_empty(), "these paths lead nowhere: {:#?}", found.unresolved);
    found
}

/// The library and the binary.
static ENGINE: LazyLock<Imports> =
    LazyLock::new(|| imports_of("src", &[("ipsight", "src/lib.rs"), ("main", "src/main.rs")]));

static KERNELS: LazyLock<Imports> =
    LazyLock::new(|| imports_of("kernels/src", &[("ipsight_kernels", "kernels/src/lib.rs")]));

#[test]
fn no_file_imports_itself_by_a_detour() {
    let mut found = circles(&ENGINE.edges);
    found.extend(circles(&KERNELS.edges));
    for folder in small_crates() {
        let library = format!("{folder}/lib.rs");
        found.extend(circles(&imports_of(&folder, &[("crate", &library)]).edges));
    }
    assert!(found.is_empty(), "{} circles of imports:\n{}", found.len(), found.join("\n"));
}

#[test]
fn imports_point_down() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let wrong = upward(&ENGINE, &Layers::parse(&text));
    assert!(wrong.is_empty(), "against the layers of ARCHITECTURE.md:\n{}", wrong.join("\n"));
}

/// A reader that found nothing would find nothing wrong.
#[test]
fn what_is_known_to_be_there_is_found() {
    let (engine, kernels) = (&*ENGINE, &*KERNELS);
    assert!(engine.files.len() >= 120, "{} files", engine.files.len());
    assert!(engine.edges.len() >= 500, "{} imports", engine.edges.len());
    assert!(engine.test_files.len() >= 10, "{} test files", engine.test_files.len());
    assert!(kernels.files.len() >= 15 && kernels.edges.len() >= 40, "{kernels:?}");
    let has = |from: &str, to: &str| engine.edges.contains_key(&(PathBuf::from(from), PathBuf::from(to)));
    // By a re-export of the root, by an absolute and by a relative path, from the binary, and by an inline path.
    assert!(has("src/data/columns.rs", "src/error.rs"));
    assert!(has("src/train/memory.rs", "src/device.rs"));
    assert!(has("src/serve/routes.rs", "src/serve/refusal.rs"));
    assert!(has("src/cli/train.rs", "src/device.rs"));
    assert!(has("src/cli/mod.rs", "src/cli/train.rs"));
    assert!(!has("src/error.rs", "src/lib.rs"));
}
