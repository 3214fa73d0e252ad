//! The modules of a crate: where each stands, and which names it has.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use syn::{Attribute, Item, UseTree};

/// Texts of files by their paths.
pub type Sources = BTreeMap<PathBuf, String>;

/// The index of a module in [`Modules::all`].
pub type Id = usize;

/// A module, in a file of its own or inline.
pub struct Module {
    pub file: PathBuf,
    /// None: a crate's root.
    pub parent: Option<Id>,
    /// The root of its crate.
    pub root: Id,
    /// The names of the modules on the way from the root.
    pub path: Vec<String>,
    /// Whether it is compiled for tests or fuzzers only.
    pub is_test: bool,
    pub children: BTreeMap<String, Id>,
    /// Names of what is defined in it.
    pub defined: Vec<String>,
    pub names: Names,
    /// Whether a macro defines items in it, whose names are not seen.
    pub has_macro_items: bool,
    pub items: Vec<Item>,
}

/// What `use` brings into a module.
#[derive(Debug, Default)]
pub struct Names {
    /// Paths, by their names here.
    pub used: Vec<(String, Vec<String>)>,
    /// Paths of `use …::*`.
    pub globs: Vec<Vec<String>>,
}

impl Names {
    /// Adds those of a `use`.
    pub fn add(&mut self, tree: &UseTree) {
        self.add_below(tree, &mut Vec::new());
    }

    fn add_below(&mut self, tree: &UseTree, path: &mut Vec<String>) {
        match tree {
            UseTree::Path(tree) => {
                path.push(tree.ident.to_string());
                self.add_below(&tree.tree, path);
                path.pop();
            }
            UseTree::Name(tree) => self.add_name(path, tree.ident.to_string(), None),
            UseTree::Rename(tree) => {
                self.add_name(path, tree.ident.to_string(), Some(tree.rename.to_string()));
            }
            UseTree::Glob(_) => self.globs.push(path.clone()),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_below(tree, path)),
        }
    }

    fn add_name(&mut self, path: &[String], name: String, rename: Option<String>) {
        let mut path = path.to_vec();
        if name != "self" {
            path.push(name);
        }
        let name = rename.or(path.last().cloned()).expect("a `use` has a path");
        self.used.push((name, path));
    }

    /// Takes all of another.
    pub fn append(&mut self, other: &mut Self) {
        self.used.append(&mut other.used);
        self.globs.append(&mut other.globs);
    }

    fn path_of(&self, name: &str) -> Option<&Vec<String>> {
        self.used.iter().find(|(used, _)| used == name).map(|(_, path)| path)
    }
}

/// The modules of the crates that were asked for.
#[derive(Default)]
pub struct Modules {
    pub all: Vec<Module>,
    /// Roots of crates by their names.
    pub roots: BTreeMap<String, Id>,
}

impl Modules {
    /// Reads the crate whose root is `file`, and all modules that are declared in it.
    pub fn add_crate(&mut self, sources: &Sources, name: &str, file: &Path) {
        let root = self.all.len();
        self.roots.insert(name.into(), root);
        self.add_file(sources, file.to_path_buf(), None, None, false);
    }

    fn add_file(
        &mut self,
        sources: &Sources,
        file: PathBuf,
        parent: Option<Id>,
        name: Option<String>,
        is_test: bool,
    ) -> Id {
        let text = sources.get(&file).unwrap_or_else(|| panic!("there is no {}", file.display()));
        let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        // The children of `x.rs` are in `x/`, those of a root and of `x/mod.rs` beside it.
        let is_folder = ["lib.rs", "main.rs", "mod.rs"].iter().any(|name| file.ends_with(name));
        let children = if is_folder { file.parent().unwrap().to_path_buf() } else { file.with_extension("") };
        self.add_module(sources, Place { file, children, parent, name, is_test }, parsed.items)
    }

    fn add_module(&mut self, sources: &Sources, place: Place, items: Vec<Item>) -> Id {
        let Place { file, children: folder, parent, name, is_test } = place;
        let id = self.all.len();
        let root = parent.map_or(id, |parent| self.all[parent].root);
        let mut path = parent.map_or(Vec::new(), |parent| self.all[parent].path.clone());
        path.extend(name);
        self.all.push(Module {
            file: file.clone(),
            parent,
            root,
            path,
            is_test,
            children: BTreeMap::new(),
            defined: Vec::new(),
            names: Names::default(),
            has_macro_items: false,
            items: Vec::new(),
        });
        for item in items {
            let is_test = is_test || is_test_only(attributes(&item));
            match item {
                Item::Mod(item) => {
                    let name = item.ident.to_string();
                    let child = match item.content {
                        Some((_, items)) => {
                            let children = folder.join(&name);
                            let (file, parent) = (file.clone(), Some(id));
                            let place = Place { file, children, parent, name: Some(name.clone()), is_test };
                            self.add_module(sources, place, items)
                        }
                        None => {
                            assert!(!item.attrs.iter().any(|attribute| attribute.path().is_ident("path")));
                            let files =
                                [folder.join(format!("{name}.rs")), folder.join(&name).join("mod.rs")];
                            let file = files.into_iter().find(|file| sources.contains_key(file));
                            let file = file.unwrap_or_else(|| panic!("no file of the module {name}"));
                            self.add_file(sources, file, Some(id), Some(name.clone()), is_test)
                        }
                    };
                    self.all[id].children.insert(name, child);
                }
                _ if is_test && !self.all[id].is_test => {}
                Item::Use(item) => self.all[id].names.add(&item.tree),
                item => {
                    self.all[id].defined.extend(name_of(&item));
                    self.all[id].has_macro_items |=
                        matches!(&item, Item::Macro(item) if item.ident.is_none());
                    self.all[id].items.push(item);
                }
            }
        }
        id
    }

    /// What a path in a module leads to: the module in which it is defined, re-exports followed to their end.
    pub fn resolve(&self, from: Id, path: &[String]) -> Target {
        self.resolve_within(from, path, 0)
    }

    fn resolve_within(&self, from: Id, path: &[String], depth: usize) -> Target {
        assert!(depth < 64, "{path:?} is imported in a circle");
        let Some((first, rest)) = path.split_first() else { return Target::Module(from) };
        match first.as_str() {
            "crate" => self.find(self.all[from].root, rest, depth),
            "self" => self.find(from, rest, depth),
            "super" => self.resolve_super(from, rest, depth),
            name => match self.find(from, path, depth) {
                Target::Nothing => match self.roots.get(name) {
                    Some(root) => self.find(*root, rest, depth),
                    None => Target::External,
                },
                found => found,
            },
        }
    }

    fn resolve_super(&self, from: Id, rest: &[String], depth: usize) -> Target {
        let parent = self.all[from].parent.expect("a root has no parent");
        match rest.first().is_some_and(|next| next == "super") {
            true => self.resolve_super(parent, &rest[1..], depth),
            false => self.find(parent, rest, depth),
        }
    }

    /// Follows a path whose first name is one in `module`.
    fn find(&self, module: Id, path: &[String], depth: usize) -> Target {
        let Some((name, rest)) = path.split_first() else { return Target::Module(module) };
        let here = &self.all[module];
        if let Some(child) = here.children.get(name)
            && !(rest.is_empty() && here.names.path_of(name).is_some())
        {
            return self.find(*child, rest, depth);
        }
        if here.defined.contains(name) {
            return Target::Item(module);
        }
        if let Some(used) = here.names.path_of(name) {
            // `use memchr::memchr;` begins with the crate, not with the name that it makes.
            if used[0] == *name {
                return self
                    .roots
                    .get(name)
                    .map_or(Target::External, |root| self.find(*root, &used[1..], depth));
            }
            return match self.resolve_within(module, used, depth + 1) {
                Target::Module(module) => self.find(module, rest, depth + 1),
                found => found,
            };
        }
        let is_known = |name: &String| {
            ["crate", "self", "super"].contains(&name.as_str()) || here.children.contains_key(name)
        };
        for glob in here.names.globs.iter().filter(|glob| is_known(&glob[0])) {
            if let Target::Module(other) = self.resolve_within(module, glob, depth + 1)
                && let found @ (Target::Item(_) | Target::Module(_)) = self.find(other, path, depth + 1)
            {
                return found;
            }
        }
        if here.has_macro_items { Target::Item(module) } else { Target::Nothing }
    }
}

/// Where a module stands.
struct Place {
    file: PathBuf,
    /// Where the files of its children are.
    children: PathBuf,
    parent: Option<Id>,
    name: Option<String>,
    is_test: bool,
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A module itself.
    Module(Id),
    /// Something that is defined in this module, or what belongs to it.
    Item(Id),
    /// Another crate.
    External,
    /// There is no such name.
    Nothing,
}

/// Whether an item is compiled for tests or fuzzers only.
pub fn is_test_only(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let Ok(list) = attribute.meta.require_list() else { return attribute.path().is_ident("test") };
        let condition = list.tokens.to_string().replace(' ', "");
        attribute.path().is_ident("cfg")
            && ["test", "fuzzing", "any(test,fuzzing)"].contains(&condition.as_str())
    })
}

fn name_of(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::TraitAlias(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

/// The attributes of an item.
pub fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
