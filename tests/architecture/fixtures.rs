//! Small crates with known imports, so that the reader is known to see them.

use std::path::PathBuf;

use crate::graph::{Layers, circles, upward};
use crate::imports::{Imports, imports};

/// The imports of a crate of these files, of which the first is its root.
fn read(files: &[(&str, &str)]) -> Imports {
    let sources = files.iter().map(|(file, text)| (PathBuf::from(file), (*text).to_string())).collect();
    imports(&sources, &[("fixture", files[0].0)])
}

/// The imports as `from to`, without folders and endings.
fn edges(imports: &Imports) -> Vec<String> {
    let name = |file: &PathBuf| file.with_extension("").display().to_string();
    imports.edges.keys().map(|(from, to)| format!("{} {}", name(from), name(to))).collect()
}

#[test]
fn every_way_to_write_an_import_is_seen() {
    for import in [
        "use crate::b::Thing;",
        "use super::b::Thing;",
        "use crate::{b::{Thing, Other}};",
        "use crate::b::{self, Thing};",
        "use crate::b; fn f(_: b::Thing) {}",
        "use crate::b as c; fn f() { c::Thing::new() }",
        "use super::b::*;",
        "fn f(_: Vec<crate::b::Thing>) {}",
        "fn f() { let _ = super::b::Thing::new(); }",
        "fn f() { use super::b::Thing; }",
        "fn f() { println!(\"{}\", crate::b::OTHER) }",
        "#[derive(Debug)] #[serde(with(crate::b::Thing))] struct S;",
        "impl Iterator for S { type Item = crate::b::Thing; fn next(&mut self) {} }",
        "use fixture::b::Thing;",
        // By the root, which has it from there.
        "use crate::Thing;",
        "use crate::Other as Third;",
    ] {
        let found = read(&[
            ("lib.rs", "mod a; mod b; pub use b::{Thing, Other};"),
            ("a.rs", import),
            ("b.rs", "pub struct Thing; pub struct Other; pub const OTHER: u8 = 1;"),
        ]);
        assert_eq!(edges(&found), ["a b", "lib b"], "{import}");
        assert!(found.unresolved.is_empty(), "{import}: {:?}", found.unresolved);
    }
}

#[test]
fn paths_to_other_crates_and_to_the_file_itself_are_no_imports() {
    let found = read(&[
        ("lib.rs", "mod a;"),
        (
            "a.rs",
            "use memchr::memchr; use std::fmt::{self, Debug}; struct S; fn f(_: self::S) { S::g(); fmt::x() }
             mod inner { use super::S; }",
        ),
    ]);
    assert!(found.edges.is_empty(), "{:?}", found.edges);
    assert_eq!(found.files.len(), 2);
}

#[test]
fn a_path_that_leads_nowhere_is_told() {
    let found = read(&[("lib.rs", "mod a;"), ("a.rs", "use crate::gone::Thing;")]);
    assert_eq!(found.unresolved.len(), 1, "{:?}", found.unresolved);
}

#[test]
fn circles_are_found_by_what_stands_behind_a_name() {
    let circles_of = |files: &[(&str, &str)]| circles(&read(files).edges);
    let by_re_export = [
        ("lib.rs", "mod a; mod b;"),
        ("a/mod.rs", "mod c; pub use c::Thing;"),
        ("a/c.rs", "use crate::b::Other; pub struct Thing;"),
        ("b.rs", "use crate::a::Thing; pub struct Other;"),
    ];
    let found = circles_of(&by_re_export);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("b.rs -> a/c.rs") && found[0].contains("a/c.rs -> b.rs"), "{found:?}");

    let by_inline_path = [
        ("lib.rs", "mod a;"),
        ("a/mod.rs", "mod c; pub struct Shared; fn f() { c::f() }"),
        ("a/c.rs", "use super::Shared; pub fn f() {}"),
    ];
    assert_eq!(circles_of(&by_inline_path).len(), 1);

    // The table of contents of a folder may re-export files that import each other downwards.
    let none = [
        ("lib.rs", "mod a;"),
        ("a/mod.rs", "mod c; mod d; pub use c::f; pub use d::Shared;"),
        ("a/c.rs", "use super::Shared; pub fn f() {}"),
        ("a/d.rs", "pub struct Shared;"),
    ];
    assert_eq!(circles_of(&none), Vec::<String>::new());
}

#[test]
fn tests_may_look_at_everything() {
    let found = read(&[
        ("lib.rs", "mod a; mod b; #[cfg(any(test, fuzzing))] mod fuzz_target; #[cfg(test)] use a::A;"),
        (
            "a.rs",
            "pub struct A; #[cfg(test)] mod tests { use crate::b::B; }
             #[cfg(test)] fn only_there(_: crate::b::B) {} impl A { #[cfg(test)] fn f() -> crate::b::B {} }",
        ),
        ("b.rs", "use crate::a::A; pub struct B; #[cfg(test)] mod tests;"),
        ("b/tests.rs", "use crate::a::A;"),
        ("fuzz_target.rs", "use crate::a::A;"),
    ]);
    assert_eq!(edges(&found), ["b a"]);
    let tests: Vec<_> = found.test_files.iter().collect();
    assert_eq!(tests, [&PathBuf::from("b/tests.rs"), &PathBuf::from("fuzz_target.rs")]);
    // What is left out of tests is none.
    let found = read(&[("lib.rs", "mod a;"), ("a.rs", "#[cfg(not(test))] fn f() { crate::g() }")]);
    assert_eq!(found.unresolved.len(), 1);
}

#[test]
fn layers_say_what_points_up() {
    let layers = |lines: &str| {
        Layers::parse(&format!(
            "x\n<!-- layers: top to bottom -->\n```text\n{lines}\n```\n<!-- end of layers -->\ny"
        ))
    };
    let found = read(&[
        ("lib.rs", "mod a; mod b; mod c; use a::A;"),
        ("a/mod.rs", "mod d; pub struct A;"),
        ("a/d.rs", "use super::A; fn f(_: crate::b::B) {}"),
        ("b.rs", "pub struct B;"),
        ("c.rs", "use crate::b::B;"),
    ]);
    let none: [&str; 0] = [];
    assert_eq!(upward(&found, &layers("a c\nb")), none);
    assert_eq!(upward(&found, &layers("c\na\nb")), none);
    assert_eq!(upward(&found, &layers("c\nb\na")), ["  a/d.rs -> b.rs (crate::b::B)"]);
    assert_eq!(upward(&found, &layers("a\nb c")), ["  c.rs -> b.rs (crate::b::B)"]);
    assert_eq!(upward(&found, &layers("a\nc")).len(), 1 + 2, "b is in no layer");
    assert_eq!(upward(&found, &layers("a c\nb\nd")), ["  `d` is a layer, but there is no such module"]);
    assert_eq!(upward(&found, &layers("a c\nb c")), ["  `c` is in two layers"]);
}
