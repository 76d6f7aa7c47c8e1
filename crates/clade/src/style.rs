//! What is said to people: on standard error, in colour only on a terminal that wants it.

use std::env;
use std::io::{self, IsTerminal, Write};

/// Shades of text, by SGR parameter (ECMA-48, 8.3.117).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shade {
    Bold = 1,
    Dim = 2,
    Red = 31,
    Green = 32,
    Yellow = 33,
}

/// Says something on standard error; the first line is marked as Clade's.
pub(crate) fn talk(text: &str) {
    let name = shaded("clade:", Shade::Bold, wants_colour(&io::stderr()));
    // If standard error is closed, there is nobody to talk to.
    let _ = writeln!(io::stderr(), "{name} {}", text.replace('\n', "\n       "));
}

/// A line on standard error as it is.
pub(crate) fn plain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// A line on standard error that is no error.
pub(crate) fn note(text: &str) {
    plain(&shaded(text, Shade::Dim, wants_colour(&io::stderr())));
}

/// The text in a shade, if `wanted`.
pub(crate) fn shaded(text: &str, shade: Shade, wanted: bool) -> String {
    if wanted {
        format!("\x1b[{}m{text}\x1b[0m", shade as u8)
    } else {
        text.to_owned()
    }
}

/// Whether the user's locale says that their terminal knows more than ASCII (locale(7)).
pub(crate) fn knows_boxes() -> bool {
    let variables = ["LC_ALL", "LC_CTYPE", "LANG"];
    let set = variables.iter().filter_map(env::var_os);
    is_utf8(set.map(|value| value.to_string_lossy().into_owned()))
}

/// The first that is not empty counts.
fn is_utf8(mut locales: impl Iterator<Item = String>) -> bool {
    let locale = locales.find(|locale| !locale.is_empty());
    let locale = locale.unwrap_or_default().to_ascii_lowercase();
    locale.ends_with("utf-8") || locale.ends_with("utf8")
}

/// Whether a stream is a terminal whose user does not object (<https://no-color.org>).
pub(crate) fn wants_colour(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_locale_that_is_set_counts() {
        for (locales, utf8) in [
            (&["de_DE.UTF-8"][..], true),
            (&["", "C.utf8"], true),
            (&["C", "en_US.UTF-8"], false),
            (&["POSIX"], false),
            (&[], false),
        ] {
            let locales = locales.iter().map(|&locale| locale.to_owned());
            assert_eq!(is_utf8(locales), utf8);
        }
    }
}
