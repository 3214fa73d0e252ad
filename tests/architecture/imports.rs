//! What each file imports from others: by `use`, by paths in code, and by paths in macros and attributes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Block, Field, ImplItem, Item, ItemUse, Macro, MetaList, Stmt, TraitItem, Variant};

use crate::modules::{Id, Modules, Names, Sources, Target, attributes, is_test_only};

/// The imports of some crates.
#[derive(Debug, Default)]
pub struct Imports {
    /// Files that are compiled outside of tests.
    pub files: BTreeSet<PathBuf>,
    /// Files that are compiled for tests or fuzzers only.
    pub test_files: BTreeSet<PathBuf>,
    /// The modules on the way from its crate's root to each file, without the root.
    pub paths: BTreeMap<PathBuf, Vec<String>>,
    /// From one file to another, with a path by which that is.
    pub edges: BTreeMap<(PathBuf, PathBuf), String>,
    /// Paths within a crate that lead nowhere.
    pub unresolved: BTreeSet<String>,
}

/// Reads crates, given by their names and their roots, which may import each other by these names.
pub fn imports(sources: &Sources, roots: &[(&str, &str)]) -> Imports {
    let mut modules = Modules::default();
    for (name, file) in roots {
        modules.add_crate(sources, name, Path::new(file));
    }
    let mut paths = Vec::new();
    for id in 0..modules.all.len() {
        if !modules.all[id].is_test {
            paths.push((id, paths_in(&mut modules, id)));
        }
    }
    let mut found = Imports::default();
    for module in &modules.all {
        let files = if module.is_test { &mut found.test_files } else { &mut found.files };
        files.insert(module.file.clone());
        found.paths.entry(module.file.clone()).or_insert_with(|| module.path.clone());
    }
    // A file with tests at its end is none of tests.
    found.test_files = found.test_files.difference(&found.files).cloned().collect();
    for (id, paths) in paths {
        paths.iter().for_each(|path| found.add(&modules, id, path));
        modules.all[id].names.globs.iter().for_each(|path| found.add_glob(&modules, id, path));
    }
    found
}

impl Imports {
    fn add(&mut self, modules: &Modules, from: Id, path: &[String]) {
        let is_of_crate = ["crate", "self", "super"].contains(&path[0].as_str());
        match modules.resolve(from, path) {
            Target::Item(to) => self.add_edge(modules, from, to, path),
            Target::Nothing if is_of_crate => {
                self.unresolved.insert(format!("{}: {}", modules.all[from].file.display(), path.join("::")));
            }
            // A module is a name alone; what is taken from it has a longer path.
            _ => {}
        }
    }

    fn add_glob(&mut self, modules: &Modules, from: Id, path: &[String]) {
        match modules.resolve(from, path) {
            Target::Module(to) => self.add_edge(modules, from, to, path),
            _ => self.add(modules, from, path),
        }
    }

    fn add_edge(&mut self, modules: &Modules, from: Id, to: Id, path: &[String]) {
        let [from, to] = [from, to].map(|id| modules.all[id].file.clone());
        if from != to {
            self.edges.entry((from, to)).or_insert_with(|| path.join("::"));
        }
    }
}

/// All paths of more than one name in a module, and those of its `use`, but for globs.
fn paths_in(modules: &mut Modules, id: Id) -> Vec<Vec<String>> {
    let items = std::mem::take(&mut modules.all[id].items);
    let mut finder = Finder::default();
    items.iter().for_each(|item| finder.visit_item(item));
    let module = &mut modules.all[id];
    // A `use` in a function holds there alone, but none has a name with another meaning elsewhere.
    module.names.append(&mut finder.uses);
    let used = module.names.used.iter().map(|(_, path)| path.clone());
    finder.paths.into_iter().chain(used).collect()
}

#[derive(Default)]
struct Finder {
    paths: Vec<Vec<String>>,
    uses: Names,
}

impl Finder {
    fn add(&mut self, path: Vec<String>) {
        if path.len() > 1 {
            self.paths.push(path);
        }
    }

    /// Paths among the tokens of a macro or an attribute.
    fn add_tokens(&mut self, tokens: &str) {
        let mut path: Vec<String> = Vec::new();
        let mut is_joined = false;
        let spaced = tokens.replace("::", " :: ");
        let words = spaced.split(|c: char| c.is_whitespace()).filter(|word| !word.is_empty());
        for word in words {
            let name = word.trim_start_matches(|c: char| !c.is_alphabetic() && c != '_');
            let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
            if word == "::" {
                is_joined = !path.is_empty();
                continue;
            }
            if !(is_joined && name.len() == word.len()) {
                self.add(std::mem::take(&mut path));
            }
            is_joined = false;
            path.push(name[..end].into());
            if end < name.len() || end == 0 {
                self.add(std::mem::take(&mut path));
            }
        }
        self.add(path);
    }
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test_only(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let attributes = match item {
            ImplItem::Const(item) => &item.attrs[..],
            ImplItem::Fn(item) => &item.attrs,
            ImplItem::Type(item) => &item.attrs,
            _ => &[],
        };
        if !is_test_only(attributes) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_trait_item(&mut self, item: &'ast TraitItem) {
        if !matches!(item, TraitItem::Fn(item) if is_test_only(&item.attrs)) {
            visit::visit_trait_item(self, item);
        }
    }

    fn visit_field(&mut self, field: &'ast Field) {
        if !is_test_only(&field.attrs) {
            visit::visit_field(self, field);
        }
    }

    fn visit_variant(&mut self, variant: &'ast Variant) {
        if !is_test_only(&variant.attrs) {
            visit::visit_variant(self, variant);
        }
    }

    fn visit_block(&mut self, block: &'ast Block) {
        for statement in &block.stmts {
            if !matches!(statement, Stmt::Local(local) if is_test_only(&local.attrs)) {
                self.visit_stmt(statement);
            }
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.uses.add(&item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            self.add(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        self.add_tokens(&call.tokens.to_string());
        visit::visit_macro(self, call);
    }

    fn visit_meta_list(&mut self, list: &'ast MetaList) {
        self.add_tokens(&list.tokens.to_string());
        visit::visit_meta_list(self, list);
    }
}
