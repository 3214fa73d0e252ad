//! Circles of imports, and imports against the layers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::imports::Imports;

type Edges = BTreeMap<(PathBuf, PathBuf), String>;

/// A text for each group of files that import each other: all imports within the group.
pub fn circles(edges: &Edges) -> Vec<String> {
    let mut targets: BTreeMap<&PathBuf, Vec<&PathBuf>> = BTreeMap::new();
    for (from, to) in edges.keys() {
        targets.entry(from).or_default().push(to);
    }
    // The graph is small: what is reached is searched from each file.
    let reached = |start: &PathBuf| {
        let mut reached: BTreeSet<&PathBuf> = BTreeSet::new();
        let mut open: Vec<&PathBuf> = targets.get(start).into_iter().flatten().copied().collect();
        while let Some(file) = open.pop() {
            if reached.insert(file) {
                open.extend(targets.get(file).into_iter().flatten());
            }
        }
        reached
    };
    let reached: BTreeMap<&PathBuf, BTreeSet<&PathBuf>> =
        targets.keys().map(|file| (*file, reached(file))).collect();
    let is_circle =
        |a: &PathBuf, b: &PathBuf| reached[a].contains(b) && reached.get(b).is_some_and(|r| r.contains(a));
    let mut seen: BTreeSet<&PathBuf> = BTreeSet::new();
    let mut texts = Vec::new();
    for file in targets.keys() {
        if !is_circle(file, file) || seen.contains(file) {
            continue;
        }
        let group: BTreeSet<&PathBuf> =
            targets.keys().filter(|other| is_circle(file, other)).copied().collect();
        seen.extend(&group);
        let within = edges.iter().filter(|((from, to), _)| group.contains(from) && group.contains(to));
        let lines: Vec<String> = within.map(|(edge, path)| line(edge, path)).collect();
        texts.push(format!("{} files:\n{}", group.len(), lines.join("\n")));
    }
    texts
}

fn line((from, to): &(PathBuf, PathBuf), path: &str) -> String {
    format!("  {} -> {} ({path})", from.display(), to.display())
}

/// The rooms of the engine from top to bottom.
pub struct Layers(Vec<Vec<String>>);

impl Layers {
    const BEGIN: &str = "<!-- layers: top to bottom -->";
    const END: &str = "<!-- end of layers -->";

    /// Reads them from between two comments of a Markdown text, a layer a line; the fence of a code block is none.
    pub fn parse(text: &str) -> Self {
        let (_, text) = text.split_once(Self::BEGIN).expect("layers begin with a comment");
        let (text, _) = text.split_once(Self::END).expect("layers end with a comment");
        let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with("```"));
        Self(lines.map(|line| line.split_whitespace().map(String::from).collect()).collect())
    }

    fn of(&self, room: &str) -> Option<usize> {
        self.0.iter().position(|layer| layer.iter().any(|name| name == room))
    }
}

/// The imports that do not point to a layer below, rooms without a layer, and names of layers without a room. A room
/// is a module of the root with all that is in it; the roots themselves may name everything.
pub fn upward(imports: &Imports, layers: &Layers) -> Vec<String> {
    let room = |file: &PathBuf| imports.paths[file].first();
    let rooms: BTreeSet<&String> = imports.files.iter().filter_map(room).collect();
    let missing = rooms.iter().filter(|room| layers.of(room).is_none());
    let mut wrong: Vec<String> = missing.map(|room| format!("  `{room}` is in no layer")).collect();
    let mut seen = BTreeSet::new();
    for name in layers.0.iter().flatten() {
        if !rooms.contains(name) {
            wrong.push(format!("  `{name}` is a layer, but there is no such module"));
        }
        if !seen.insert(name) {
            wrong.push(format!("  `{name}` is in two layers"));
        }
    }
    for (edge, path) in &imports.edges {
        if let (Some(from), Some(to)) = (room(&edge.0), room(&edge.1))
            && from != to
            && layers.of(from) >= layers.of(to)
        {
            wrong.push(line(edge, path));
        }
    }
    wrong
}
