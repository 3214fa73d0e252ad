//! Failures of a journal as errors of this program.

use crate::Error;

const OTHER_SWEEP: &str =
    "go on with the goal and the search space with which the sweep began, or begin another in a new folder";

/// The failure of a journal, with what to do.
pub(super) fn of_journal(error: ipsight_search::Error) -> Error {
    use ipsight_search::Error as Of;
    match error {
        Of::OtherStudy { at, what } => Error::config(at, what, OTHER_SWEEP),
        Of::Corrupt { at, what } => {
            let help = "restore the journal from a copy, or begin the sweep anew in another folder";
            Error::data(at, what, help)
        }
        Of::Empty { path } => {
            let help = "remove it and begin the sweep anew: it holds no trial";
            Error::data(path.display().to_string(), "the journal has no whole line", help)
        }
        Of::Io { action, path, source } => Error::Io { action, path, source },
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn failures_of_a_journal_keep_their_text_and_have_an_exit_code() {
        let (at, what, path) = (String::from("journal.log:3"), String::from("x"), "journal.log".into());
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let cases = [
            (ipsight_search::Error::OtherStudy { at: at.clone(), what: what.clone() }, 2),
            (ipsight_search::Error::Corrupt { at, what }, 3),
            (ipsight_search::Error::Empty { path }, 3),
            (ipsight_search::Error::Io { action: "write", path: "journal.log".into(), source: full }, 4),
        ];
        for (error, code) in cases {
            let text = error.to_string();
            let error = of_journal(error);
            assert_eq!((error.to_string(), error.exit_code()), (text, code));
            assert!(error.help().is_some_and(|help| !help.is_empty()), "{error:?}");
        }
    }
}
