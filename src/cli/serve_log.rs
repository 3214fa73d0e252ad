//! What a server says on stderr while it runs. A line is one line, whatever a name or a path in it holds.

use std::borrow::Cow;

use ipsight::Error;
use ipsight::serve::ServeEvent;

/// The text without characters that end a line or steer a terminal.
pub fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let escaped = |character: char| match character.is_control() {
        true => character.escape_default().to_string(),
        false => character.to_string(),
    };
    Cow::Owned(text.chars().map(escaped).collect())
}

pub fn tell(event: ServeEvent<'_>) {
    let say = |text: String| talk!("{}", one_line(&text));
    match event {
        ServeEvent::Reloaded(reloaded) => match &reloaded.outcome {
            Ok(version) => say(format!("model {}, version {version}", reloaded.name)),
            Err(error) => {
                say(format!("model {} stays as it was: {error}", reloaded.name));
                talk_help(error);
            }
        },
        ServeEvent::ReloadFailed(error) => {
            say(format!("models stay as they were: {error}"));
            talk_help(error);
        }
        ServeEvent::AccessReloaded => say("tokens and certificate were read again".into()),
        ServeEvent::AccessRefused(error) => {
            say(format!("tokens and certificate in force stay: {error}"));
            talk_help(error);
        }
        ServeEvent::ReloadDropped => say("no reload: as many wait as may".into()),
        ServeEvent::Request { method, route, status, seconds } => {
            say(format!("{method} {route} {status} {seconds:.6} s"));
        }
        ServeEvent::Draining => say("stopping: no new connections, requests in flight are finished".into()),
    }
}

fn talk_help(error: &Error) {
    for line in error.help().iter().flat_map(|help| help.lines()) {
        talk!("  help: {}", one_line(line));
    }
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn a_line_is_one_line() {
        assert_eq!(one_line("a \"b\" \\ ä"), "a \"b\" \\ ä");
        assert_eq!(one_line("a\nlistening on\u{1b}[31m\r\u{85}"), "a\\nlistening on\\u{1b}[31m\\r\\u{85}");
    }
}
