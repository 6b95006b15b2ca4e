//! Where things are printed, and in which colours.

use std::fmt;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write as _};

use anstyle::{AnsiColor, Style};
use mountless::attr::FileType;

/// Results: locked once and written in large pieces.
pub(crate) type Out = BufWriter<StdoutLock<'static>>;

pub(crate) fn stdout() -> Out {
    BufWriter::with_capacity(64 << 10, io::stdout().lock())
}

/// Whether a stream shows colours: a terminal does, unless the user does not want them.
pub(crate) fn colour(stream: &impl IsTerminal) -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Says on stderr what went wrong and what to do next.
pub(crate) fn complain(message: &str, next: Option<&str>) {
    let style = style_if(colour(&io::stderr()), AnsiColor::Red.on_default().bold());
    let next = next.map_or(String::new(), |next| format!("  next: {next}\n"));
    // OK to ignore: whoever read it has gone, and the exit code tells the rest.
    let _ = write!(io::stderr(), "{style}mountless:{style:#} {message}\n{next}");
}

/// Says on stderr what is worth knowing, though nothing went wrong.
pub(crate) fn note(message: &str) {
    let style = style_if(colour(&io::stderr()), AnsiColor::Yellow.on_default());
    eprintln!("{style}note:{style:#} {message}");
}

/// The style of a name of this kind.
pub(crate) fn of_type(colour: bool, file_type: FileType) -> Style {
    let style = match file_type {
        FileType::File => Style::new(),
        FileType::Dir => AnsiColor::Blue.on_default().bold(),
        FileType::Symlink => AnsiColor::Cyan.on_default(),
        FileType::Whiteout => AnsiColor::Red.on_default(),
        FileType::Char | FileType::Block | FileType::Fifo | FileType::Socket => AnsiColor::Yellow.on_default(),
    };
    style_if(colour, style)
}

/// The style of a difference.
pub(crate) fn of_change(colour: bool, letter: char) -> Style {
    let style = match letter {
        'A' => AnsiColor::Green.on_default(),
        'D' => AnsiColor::Red.on_default(),
        'R' => AnsiColor::Cyan.on_default(),
        _ => AnsiColor::Yellow.on_default(),
    };
    style_if(colour, style)
}

/// The style of a line of a text that differs, by what stands in front of it.
pub(crate) fn of_line(colour: bool, sign: char) -> Style {
    let style = match sign {
        '+' => AnsiColor::Green.on_default(),
        '-' => AnsiColor::Red.on_default(),
        _ => Style::new(),
    };
    style_if(colour, style)
}

/// The style of a heading.
pub(crate) fn bold(colour: bool) -> Style {
    style_if(colour, Style::new().bold())
}

fn style_if(colour: bool, style: Style) -> Style {
    if colour { style } else { Style::new() }
}

/// Something in a style.
pub(crate) struct Styled<T>(pub(crate) Style, pub(crate) T);

impl<T: fmt::Display> fmt::Display for Styled<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(style, content) = self;
        write!(f, "{style}{content}{style:#}")
    }
}
