//! The library names options as it knows them, `max_body_bytes`; a program's user knows the flag, `--max-body-bytes`.

use std::collections::BTreeMap;

use clap::Command;
use ipsight::{At, Error};

/// Flags by the names of their options, which are those of the arguments' fields.
type Flags = BTreeMap<String, String>;

/// An error that names the flags of a program's verbs instead of options.
pub fn name_flags(error: Error, program: &Command) -> Error {
    let mut flags = Flags::new();
    collect(program, &mut flags);
    let at = |at: At| match at {
        At::Option { name, value } => match (flags.get(name), value) {
            (Some(flag), Some(value)) => At::Place(format!("{flag} {value}")),
            (Some(flag), None) => At::Place(flag.clone()),
            (None, value) => At::Option { name, value },
        },
        place => place,
    };
    let text = |text: String| with_flags(&text, &flags);
    match error {
        Error::Config { at: place, what, help } => {
            Error::Config { at: at(place), what: text(what), help: text(help) }
        }
        Error::Data { at: place, what, help } => Error::Data { at: at(place), what, help: text(help) },
        Error::Socket { at: place, address, source } => Error::Socket { at: at(place), address, source },
        Error::Device { what, help } => Error::Device { what, help: text(help) },
        Error::Diverged { what, help } => Error::Diverged { what, help: text(help) },
        other => other,
    }
}

fn collect(command: &Command, flags: &mut Flags) {
    for argument in command.get_arguments() {
        if let Some(long) = argument.get_long() {
            flags.insert(argument.get_id().to_string(), format!("--{long}"));
        }
    }
    command.get_subcommands().for_each(|verb| collect(verb, flags));
}

/// A text that names flags: its words with an underscore that are names of options, and `the option NAME`. What is quoted
/// was given by the user, and what has a dot beside it is a key of a file: both stay.
fn with_flags(text: &str, flags: &Flags) -> String {
    const THE_OPTION: &str = "the option ";
    let is_of_word = |c: char| c.is_alphanumeric() || "_.-/".contains(c);
    let mut named = String::with_capacity(text.len());
    for (i, part) in text.split('`').enumerate() {
        if i > 0 {
            named.push('`');
        }
        if i % 2 == 1 {
            named.push_str(part);
            continue;
        }
        for word in part.split_inclusive(|c| !is_of_word(c)) {
            let name = word.trim_end_matches(|c| !is_of_word(c) || c == '.');
            match flags.get(name) {
                Some(flag) if named.ends_with(THE_OPTION) => {
                    named.truncate(named.len() - THE_OPTION.len());
                    named.extend([flag, &word[name.len()..]]);
                }
                Some(flag) if name.contains('_') => named.extend([flag, &word[name.len()..]]),
                _ => named.push_str(word),
            }
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use clap::{Arg, ArgAction};

    use super::*;

    fn program() -> Command {
        let flag = |id: &'static str, long: &'static str| Arg::new(id).long(long).action(ArgAction::Set);
        let verb = Command::new("serve").args([
            flag("max_body_bytes", "max-body-bytes"),
            flag("listen", "listen"),
            flag("init_from", "init-from"),
            Arg::new("positional"),
        ]);
        Command::new("program").subcommand(Command::new("outer").subcommand(verb))
    }

    #[test]
    fn options_become_flags() {
        let named = |at: At, what: &str, help: &str| {
            let error = name_flags(Error::config(at, what, help), &program());
            format!("{error}; {}", error.help().unwrap())
        };
        assert_eq!(
            named(
                At::option("listen"),
                "1 is less than max_body_bytes, 2",
                "raise it, or lower max_body_bytes."
            ),
            "--listen: 1 is less than --max-body-bytes, 2; raise it, or lower --max-body-bytes."
        );
        assert_eq!(
            named(At::option("listen"), "x", "add the option listen, or set the option init_from to auto"),
            "--listen: x; add --listen, or set --init-from to auto"
        );
        let at = At::option_of("init_from", "runs/a");
        assert_eq!(named(at, "there is no model", ""), "--init-from runs/a: there is no model; ");
    }

    #[test]
    fn nothing_else_becomes_a_flag() {
        for (at, what) in [
            (At::Place("listen".into()), "it listens"),
            (At::option("positional"), "`init_from` is no column"),
            (At::option("unknown_option"), "data.init_from, init_from.x, ./init_from and my_init_from"),
            (At::Place("a.toml:3".into()), "a word listen, and `a` and init-from"),
        ] {
            let before = Error::config(at, what, what);
            let text = before.to_string();
            assert_eq!(name_flags(before, &program()).to_string(), text);
        }
    }
}
