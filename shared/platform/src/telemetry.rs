//! Log lines go to stdout, one a line, where the Functions host picks them up (stderr would make each an error).
//!
//! One event is one line, whatever a blob's name, an error or a header says: control characters are written as `\u000a`,
//! so that nobody begins a line of his own, clears a terminal, or turns the direction of a text.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Stdout, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::settings::{LogFormat, Settings};

/// What is logged when `WEIR_LOG` is not set.
const DEFAULT_FILTER: &str = "info,deltalake=warn,buoyant_kernel=warn,object_store=warn,azure=warn,hyper=warn";

/// Installs the subscriber of the process; a second call does nothing.
pub fn install(settings: &Settings) {
    let filter = settings.log_filter.as_deref().unwrap_or(DEFAULT_FILTER);
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let colours = settings.log_format == LogFormat::Text && io::stdout().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Lines { colours });
    // An error says that a subscriber is installed already.
    let _ = match settings.log_format {
        LogFormat::Json => builder.json().with_current_span(true).with_span_list(false).try_init(),
        LogFormat::Text => builder.with_target(false).with_ansi(colours).try_init(),
    };
}

/// A text without control characters, for a line that people or machines read: each is written as `\u` and four digits,
/// which is also what JSON has for it.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, false)
}

/// `colours`: ESC passes, because the subscriber itself writes it; it has escaped those of others.
fn escaped(text: &str, colours: bool) -> Cow<'_, str> {
    let harmful = |letter: char| is_harmful(letter) && !(colours && letter == '\u{1b}');
    if !text.contains(harmful) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if harmful(letter) {
            line.push_str(&format!("\\u{:04x}", u32::from(letter)));
        } else {
            line.push(letter);
        }
    }
    Cow::Owned(line)
}

/// Control characters, what other readers take for the end of a line, and what turns the direction of the text after it.
fn is_harmful(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

#[derive(Debug, Clone, Copy)]
struct Lines {
    colours: bool,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<Stdout>;

    fn make_writer(&'a self) -> Self::Writer {
        Line { to: io::stdout(), colours: self.colours }
    }
}

/// The subscriber writes each event in one piece, with a line break at its end.
#[derive(Debug)]
struct Line<W> {
    to: W,
    colours: bool,
}

impl<W: Write> Write for Line<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event.strip_suffix(b"\n").unwrap_or(event));
        let mut line = escaped(&text, self.colours).into_owned();
        line.push('\n');
        self.to.write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\nb\r\u{1b}[2Jc\u{7f}\u{85}\u{9b}\u{2028}\u{202e}\u{0}\t\u{2066}d";

    #[test]
    fn what_ends_a_line_or_drives_a_terminal_is_written_as_its_number() {
        assert_eq!(
            printable(HOSTILE),
            "a\\u000ab\\u000d\\u001b[2Jc\\u007f\\u0085\\u009b\\u2028\\u202e\\u0000\\u0009\\u2066d"
        );
        assert!(matches!(printable("plain, äöü, 日本 \u{1f600}"), Cow::Borrowed(_)));
        let json = format!("\"{}\"", escaped("\u{7f}\u{2028}", true));
        assert_eq!(json, "\"\\u007f\\u2028\"", "still JSON");
        assert_eq!(escaped("\u{1b}[2m\u{7}", true), "\u{1b}[2m\\u0007");
    }

    #[test]
    fn one_event_is_one_line() {
        let mut line = Line { to: Vec::new(), colours: false };
        line.write_all(format!("{HOSTILE}\n").as_bytes()).unwrap();
        line.write_all(b"next\n").unwrap();
        let text = String::from_utf8(line.to).unwrap();
        assert_eq!((text.lines().count(), text.ends_with("d\nnext\n")), (2, true), "{text}");
    }
}
