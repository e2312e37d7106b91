//! What goes to a terminal: nothing in it that the terminal obeys, colours only where they are wanted.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};

use serde::Serialize;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::Failure;

impl From<io::Error> for Failure {
    /// For writing to stdout; an error about a file has to name it. A reader that is gone (`| head`) is no failure.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::exit(0, ""),
            _ => Self::runtime(format!("the output cannot be written: {error}")),
        }
    }
}

/// How a command that reports once prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// The same where it may become part of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum PageFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// For a page, or a comment on a change.
    Markdown,
}

/// Text from outside, with what a terminal obeys, or what makes text look other than it is, as an escape:
/// `\u{1b}`, `\n`.
pub fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        if obeyed(character) {
            printable.extend(character.escape_default());
        } else {
            printable.push(character);
        }
    }
    printable
}

/// A value as JSON on one line, which means the same to a program as any other spelling and can be shown on a
/// terminal: JSON itself leaves C1 controls and direction marks as they are.
pub fn json_line(value: &impl Serialize) -> io::Result<String> {
    let json = serde_json::to_string(value)?;
    let mut line = String::with_capacity(json.len());
    for character in json.chars() {
        if obeyed(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(line, "\\u{unit:04x}");
            }
        } else {
            line.push(character);
        }
    }
    Ok(line)
}

/// Controls, marks that turn the writing direction, and all else that takes no room of its own.
fn obeyed(character: char) -> bool {
    match character {
        ' '..='~' => false,
        // A soft hyphen, and line breaks to some.
        '\u{ad}' | '\u{2028}' | '\u{2029}' => true,
        _ => character.width().is_none_or(|width| width == 0),
    }
}

/// At most `width` columns of a text, with an ellipsis for what is left out.
pub fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut room = width.saturating_sub(1);
    let fits = |character: &char| {
        let needed = character.width().unwrap_or_default();
        let fits = needed <= room;
        room = room.saturating_sub(needed);
        fits
    };
    let mut short: String = text.chars().take_while(fits).collect();
    short.push('…');
    short
}

/// Whether stdout takes colours: a terminal, and neither `NO_COLOR` nor `TERM=dumb` says otherwise.
pub fn colours() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stdout().is_terminal() && !refused && !dumb
}

/// The columns of the terminal that stdout is; none where it is a file or a pipe.
pub fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|width| *width > 0)
}

/// Whether whoever read our output through a pipe is gone. Writing would tell as well, and may be a long way off.
pub fn reader_gone() -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let stdout = io::stdout();
    let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
    // poll(2): a pipe without readers is in error, for which nobody has to ask.
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)).is_ok_and(|_| fds.iter().any(|fd| fd.revents().contains(PollFlags::ERR)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_finds_nothing_to_obey() {
        for (text, expected) in [
            ("/v1/chat?x=***", "/v1/chat?x=***"),
            ("/é/日本", "/é/日本"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("a\r\nb\t\0\u{7f}", "a\\r\\nb\\t\\u{0}\\u{7f}"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\u{202e}gpj.exe", "\\u{202e}gpj.exe"),
            ("a\u{2066}b\u{200b}c\u{feff}d\u{ad}e\u{2028}f", "a\\u{2066}b\\u{200b}c\\u{feff}d\\u{ad}e\\u{2028}f"),
            ("\u{e0041}", "\\u{e0041}"),
        ] {
            assert_eq!(printable(text), expected);
        }
    }

    #[test]
    fn json_stays_json() {
        for text in ["\u{1b}[2J", "a\r\n\"b\\", "\u{9b}31m", "\u{202e}x", "\u{e0041}é日本", "\u{7f}"] {
            let line = json_line(&[text]).unwrap();
            assert!(!line.chars().any(obeyed), "{line}");
            assert_eq!(serde_json::from_str::<[String; 1]>(&line).unwrap(), [text]);
        }
    }
}
