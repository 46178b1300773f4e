//! Rust source as a flat list of tokens with their lines: what is left without comments and formatting.

use std::str::FromStr as _;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A word, a punctuation character, a literal or a bracket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    /// From 1.
    pub(crate) line: usize,
}

/// The tokens of `source`; none where it is not Rust (the compiler says so better).
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let mut found = Vec::new();
    if let Ok(stream) = TokenStream::from_str(source) {
        flatten(stream, &mut found);
    }
    found
}

/// Whether `tokens` start with the texts of `pattern`.
pub(crate) fn start_with(tokens: &[Token], pattern: &[&str]) -> bool {
    tokens.len() >= pattern.len() && tokens.iter().zip(pattern).all(|(token, text)| token.text == *text)
}

fn flatten(stream: TokenStream, found: &mut Vec<Token>) {
    for tree in stream {
        let line = tree.span().start().line;
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                found.push(Token { text: open.to_owned(), line });
                flatten(group.stream(), found);
                found.push(Token { text: close.to_owned(), line: group.span_close().start().line });
            }
            TokenTree::Ident(ident) => found.push(Token { text: ident.to_string(), line }),
            TokenTree::Punct(punct) => found.push(Token { text: punct.as_char().to_string(), line }),
            TokenTree::Literal(literal) => found.push(Token { text: literal.to_string(), line }),
        }
    }
}
