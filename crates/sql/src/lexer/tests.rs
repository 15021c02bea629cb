//! Texts and the tokens that Postgres makes of them.

use super::{Lexer, TokenKind};

/// Tokens as text, a letter for the kind in front.
fn tokens(text: &str, conforming: bool) -> Vec<String> {
    let mut lexer = Lexer::new(text.as_bytes(), conforming);
    let mut found = Vec::new();
    while let Some(token) = lexer.next_token() {
        let kind = match token.kind {
            TokenKind::Word => 'w',
            TokenKind::Quoted => 'q',
            TokenKind::UnicodeQuoted => 'u',
            TokenKind::String => 's',
            TokenKind::National => 'N',
            TokenKind::Bits => 'b',
            TokenKind::Number => 'n',
            TokenKind::Param => 'p',
            TokenKind::Operator => 'o',
            TokenKind::Cast => 'c',
            TokenKind::Foreign => 'f',
            TokenKind::Punctuation(_) => '.',
            TokenKind::Invalid => '!',
        };
        found.push(format!("{kind}{}", &text[token.start..token.end]));
    }
    found
}

#[test]
fn tokens_are_those_of_postgres() {
    let cases: &[(&str, &[&str])] = &[
        ("a$1 $1", &["wa$1", "p$1"]),
        ("naïve Ünder", &["wnaïve", "wÜnder"]),
        ("1 1.5 .5 5. 1e3 1.5E-7", &["n1", "n1.5", "n.5", "n5.", "n1e3", "n1.5E-7"]),
        ("1..2", &["n1", "f..", "n2"]),
        ("1_000 0x1F 0o17 0b101 0x_1f", &["n1_000", "n0x1F", "n0o17", "n0b101", "n0x_1f"]),
        ("123abc", &["!123abc"]),
        ("1e", &["!1e"]),
        ("0x", &["!0x"]),
        ("$1a", &["!$1a"]),
        ("a-1", &["wa", "o-", "n1"]),
        ("a<-1", &["wa", "o<", "o-", "n1"]),
        ("a@-1", &["wa", "o@-", "n1"]),
        ("a*-1", &["wa", "o*", "o-", "n1"]),
        ("a=-1", &["wa", "o=", "o-", "n1"]),
        ("a->>'b'", &["wa", "o->>", "s'b'"]),
        ("a --b\n+c", &["wa", "o+", "wc"]),
        ("a+--b\nc", &["wa", "o+", "wc"]),
        ("a*/*b*/c", &["wa", "o*", "wc"]),
        ("a/* b /* c */ d */e", &["wa", "we"]),
        ("a /* b", &["wa", "!/* b"]),
        ("x::int4", &["wx", "c::", "wint4"]),
        ("a[1:2]", &["wa", ".[", "n1", ".:", "n2", ".]"]),
        ("f(a => 1, b := 2)", &["wf", ".(", "wa", "o=>", "n1", ".,", "wb", "f:=", "n2", ".)"]),
        ("'it''s'", &["s'it''s'"]),
        ("'a' 'b'", &["s'a'", "s'b'"]),
        ("'a'\n'b'", &["s'a'\n'b'"]),
        ("'a' -- x\n  'b' 'c'", &["s'a' -- x\n  'b'", "s'c'"]),
        ("'a' -- x 'b'", &["s'a'"]),
        ("'a' /* x */\n'b'", &["s'a'", "s'b'"]),
        ("E'a\\'b' e'\\\\'", &["sE'a\\'b'", "se'\\\\'"]),
        ("'a\\' b", &["s'a\\'", "wb"]),
        ("E 'a'", &["wE", "s'a'"]),
        ("B'01' x'fF' N'n' n 'x'", &["bB'01'", "bx'fF'", "NN'n'", "wn", "s'x'"]),
        ("U&'d\\0061t' UESCAPE '!' x", &["sU&'d\\0061t' UESCAPE '!'", "wx"]),
        ("U&\"d\" uescape '!', y", &["uU&\"d\" uescape '!'", ".,", "wy"]),
        ("U&'a' UESCAPED", &["sU&'a'", "wUESCAPED"]),
        ("u & 'x'", &["wu", "o&", "s'x'"]),
        ("\"a\"\"b\" \"\"", &["q\"a\"\"b\"", "!\"\""]),
        ("$$a'b$$ $x$a$$b$x$", &["s$$a'b$$", "s$x$a$$b$x$"]),
        ("$1$ x", &["p$1", "!$ x"]),
        ("$a b", &["!$a b"]),
        ("a$b$c$b$", &["wa$b$c$b$"]),
        ("'open", &["!'open"]),
        ("$$open$", &["!$$open$"]),
        ("a\\b", &["wa", "!\\b"]),
        ("a\0b", &["wa", "!\0b"]),
        ("a.b . c", &["wa", "..", "wb", "..", "wc"]),
    ];
    for (text, expected) in cases {
        assert_eq!(tokens(text, true), *expected, "{text}");
    }
}

#[test]
fn without_conforming_strings_a_backslash_escapes() {
    assert_eq!(tokens("'a\\' b'", false), ["s'a\\' b'"]);
    assert_eq!(tokens("E'a\\' b'", false), ["sE'a\\' b'"]);
    assert_eq!(tokens("$$\\$$", false), ["s$$\\$$"]);
    assert_eq!(tokens("U&'a'", false), ["!U&'a'"]);
}
