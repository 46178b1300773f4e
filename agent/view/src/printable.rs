//! Text that somebody else chose (a pod's name, a command's name, a destination), for the eyes: nothing in it is
//! unseen.
//!
//! Knows nothing of HTML or terminals: markup is escaped by whoever writes it.
//!
//! Invariants: the result has no control character, no format character (bidi, zero width), no mark that joins the
//! letter before, and no separator but single spaces between other characters; it has at most as many characters as
//! allowed; no escape is cut in two; and two texts that were not cut look different if they are.

/// Letters and symbols that are drawn as nothing, or as a space: the Hangul fillers, the empty Braille pattern.
const BLANK: [char; 5] = ['\u{115f}', '\u{1160}', '\u{2800}', '\u{3164}', '\u{ffa0}'];

/// `text` with everything that would not be seen written as an escape (`\n`, `\u{202e}`, a space at an end or beside
/// another one as `\u{20}`, the backslash itself as `\\`), and cut with `…` where it would be longer than `most`
/// characters.
#[must_use]
pub fn printable(text: &str, most: usize) -> String {
    let mut out = String::new();
    let mut length = 0;
    // How much of `out` leaves room for the ellipsis.
    let mut fits = 0;
    let mut letters = text.chars().peekable();
    let mut space = true;
    while let Some(letter) = letters.next() {
        let before = out.len();
        let lone = !space && letters.peek().is_some_and(|&next| next != ' ');
        write(&mut out, letter, lone);
        space = letter == ' ';
        length += out[before..].chars().count();
        if length > most {
            out.truncate(fits);
            out.extend((most > 0).then_some('…'));
            return out;
        }
        if length < most {
            fits = out.len();
        }
    }
    out
}

/// Writes `letter`, which has something else than spaces on both sides if it is `lone`.
fn write(out: &mut String, letter: char, lone: bool) {
    if matches!(letter, '\'' | '"') {
        out.push(letter);
    } else if BLANK.contains(&letter) || (letter == ' ' && !lone) {
        out.extend(letter.escape_unicode());
    } else {
        // Escapes what is not printable in Unicode's sense, the marks that extend a grapheme, and the backslash.
        out.extend(letter.escape_debug());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn printable_plain_text_is_kept() {
        for text in ["", "shop/cart-6d5f7c9b8d-x2x7k", "it's \"here\" <b> & there", "[2001:db8::1]:443", "Größe 漢字"]
        {
            assert_eq!(printable(text, 100), text);
        }
    }

    #[test]
    fn printable_unseen_characters_are_written() {
        for (text, written) in [
            ("a\nb\tc\rd\0", "a\\nb\\tc\\rd\\0"),
            ("\u{1b}[31mred\u{7}\u{7f}\u{9b}", "\\u{1b}[31mred\\u{7}\\u{7f}\\u{9b}"),
            ("evil\u{202e}gnp.exe", "evil\\u{202e}gnp.exe"),
            ("\u{200e}\u{200f}\u{061c}\u{2066}\u{2069}", "\\u{200e}\\u{200f}\\u{61c}\\u{2066}\\u{2069}"),
            ("\u{200b}\u{200c}\u{200d}\u{2060}\u{feff}\u{ad}", "\\u{200b}\\u{200c}\\u{200d}\\u{2060}\\u{feff}\\u{ad}"),
            ("\u{a0}\u{2003}\u{2028}\u{2029}\u{3000}", "\\u{a0}\\u{2003}\\u{2028}\\u{2029}\\u{3000}"),
            ("\u{115f}\u{1160}\u{2800}\u{3164}\u{ffa0}", "\\u{115f}\\u{1160}\\u{2800}\\u{3164}\\u{ffa0}"),
            ("\u{fe0f}\u{e0001}\u{e0100}\u{34f}", "\\u{fe0f}\\u{e0001}\\u{e0100}\\u{34f}"),
            ("e\u{301}\u{301}\u{301}", "e\\u{301}\\u{301}\\u{301}"),
            ("\u{e000}\u{10ffff}", "\\u{e000}\\u{10ffff}"),
            ("   ", "\\u{20}\\u{20}\\u{20}"),
            (" a b  c ", "\\u{20}a b\\u{20}\\u{20}c\\u{20}"),
            (r"\u{202e}", r"\\u{202e}"),
        ] {
            assert_eq!(printable(text, 1000), written, "{text:?}");
        }
    }

    #[test]
    fn printable_long_text_is_cut_between_characters_and_escapes() {
        assert_eq!(printable("abcdef", 6), "abcdef");
        assert_eq!(printable("abcdefg", 6), "abcde…");
        assert_eq!(printable("ab\u{202e}", 10), "ab\\u{202e}");
        assert_eq!(printable("ab\u{202e}c", 10), "ab…");
        assert_eq!(printable("漢字漢字", 3), "漢字…");
        assert_eq!(printable("\u{202e}", 1), "…");
        assert_eq!(printable("ab", 0), "");
        assert_eq!(printable(&"x".repeat(300), 64).chars().count(), 64);
    }

    proptest! {
        #[test]
        fn printable_of_anything_is_short_and_seen(text in any::<String>(), most in 0..80_usize) {
            let out = printable(&text, most);
            prop_assert!(out.chars().count() <= most);
            prop_assert!(out.chars().all(|letter| !letter.is_control() && !BLANK.contains(&letter)));
            prop_assert!(out.chars().all(|letter| letter == ' ' || !letter.is_whitespace()));
            prop_assert!(out.trim() == out && !out.contains("  "));
            prop_assert!(most == 0 || text.is_empty() || !out.is_empty());
        }

        #[test]
        fn printable_of_different_texts_differs(
            texts in prop::collection::vec("[a\\\\u{}20 \u{202e}\n\u{200b}]{0,6}", 8),
        ) {
            let mut seen = HashMap::new();
            for text in texts {
                if let Some(other) = seen.insert(printable(&text, 1000), text.clone()) {
                    prop_assert_eq!(other, text);
                }
            }
        }
    }
}
