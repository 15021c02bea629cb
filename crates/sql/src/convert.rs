//! Our tokens as sqlparser's: its own tokenizer is never asked, so what it reads otherwise can't mislead.
//!
//! Strings go over without their content (only their place counts), identifiers folded or unquoted and cut as Postgres
//! does. A token's span carries its position in the statement (line) and its literal (column), each plus one.

use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan};

use crate::lexer::TokenKind;
use crate::tokens::{Cursor, Tok, bytes, identifier, is_word};

/// The tokens of a statement for the parser; `None` for what it can't be given.
///
/// `keep` says which tokens to hand over.
pub(crate) fn convert(text: Cursor<'_>, keep: impl Fn(usize) -> bool) -> Option<Vec<TokenWithSpan>> {
    let mut converted = Vec::with_capacity(text.rest.len() + 1);
    for (at, token) in text.rest.iter().enumerate() {
        let after = |words: &[&str]| {
            at.checked_sub(1)
                .is_some_and(|before| words.iter().any(|word| is_word(text.sql, &text.rest[before], word)))
        };
        let only = is_word(text.sql, token, "only") && !after(&["row", "rows"]);
        if only || !keep(at) {
            // FROM ONLY t: the parser would take ONLY for the table, and it changes no fact.
            continue;
        }
        let span = span(at, token)?;
        let mut push = |token| converted.push(TokenWithSpan { token, span });
        if is_word(text.sql, token, "table") && !after(&["into", "temp", "temporary", "unlogged"]) {
            // TABLE t: the parser keeps no identifier of it.
            push(Token::make_word("select", None));
            push(Token::Mul);
            push(Token::make_word("from", None));
        } else {
            push(one(text.sql, token)?);
        }
    }
    converted.push(TokenWithSpan { token: Token::EOF, span: Span::empty() });
    Some(converted)
}

fn span(at: usize, token: &Tok) -> Option<Span> {
    let line = u64::try_from(at).ok()? + 1;
    let column = token.literal.map_or(0, |literal| u64::from(literal) + 1);
    let place = Location { line, column };
    Some(Span { start: place, end: place })
}

fn one(sql: &[u8], token: &Tok) -> Option<Token> {
    let text = bytes(sql, token);
    Some(match token.kind {
        TokenKind::Word => Token::make_word(&identifier(sql, token)?, None),
        TokenKind::Quoted => Token::make_word(&identifier(sql, token)?, Some('"')),
        TokenKind::String => Token::SingleQuotedString("s".into()),
        TokenKind::National => Token::NationalStringLiteral("s".into()),
        TokenKind::Bits => Token::HexStringLiteral("0".into()),
        TokenKind::Number => Token::Number(plain_number(text)?, false),
        TokenKind::Param => Token::Placeholder(std::str::from_utf8(text).ok()?.into()),
        TokenKind::Operator => operator(std::str::from_utf8(text).ok()?),
        TokenKind::Cast => Token::DoubleColon,
        TokenKind::Foreign if text == b":=" => Token::Assignment,
        TokenKind::Punctuation(byte) => match byte {
            b'(' => Token::LParen,
            b')' => Token::RParen,
            b'[' => Token::LBracket,
            b']' => Token::RBracket,
            b',' => Token::Comma,
            b':' => Token::Colon,
            b'.' => Token::Period,
            _ => return None,
        },
        TokenKind::UnicodeQuoted | TokenKind::Foreign | TokenKind::Invalid => return None,
    })
}

/// A decimal number as it is; for others any number will do.
fn plain_number(text: &[u8]) -> Option<String> {
    let plain = text.iter().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(byte));
    if plain { String::from_utf8(text.to_vec()).ok() } else { Some("1".into()) }
}

fn operator(text: &str) -> Token {
    match text {
        "=" => Token::Eq,
        "<>" | "!=" => Token::Neq,
        "<" => Token::Lt,
        ">" => Token::Gt,
        "<=" => Token::LtEq,
        ">=" => Token::GtEq,
        "+" => Token::Plus,
        "-" => Token::Minus,
        "*" => Token::Mul,
        "/" => Token::Div,
        "%" => Token::Mod,
        "^" => Token::Caret,
        "=>" => Token::RArrow,
        "||" => Token::StringConcat,
        "&" => Token::Ampersand,
        "|" => Token::Pipe,
        "#" => Token::Sharp,
        "~" => Token::Tilde,
        "~*" => Token::TildeAsterisk,
        "!~" => Token::ExclamationMarkTilde,
        "!~*" => Token::ExclamationMarkTildeAsterisk,
        "~~" => Token::DoubleTilde,
        "~~*" => Token::DoubleTildeAsterisk,
        "!~~" => Token::ExclamationMarkDoubleTilde,
        "!~~*" => Token::ExclamationMarkDoubleTildeAsterisk,
        "<<" => Token::ShiftLeft,
        ">>" => Token::ShiftRight,
        "&&" => Token::Overlap,
        "@" => Token::AtSign,
        "^@" => Token::CaretAt,
        "|/" => Token::PGSquareRoot,
        "||/" => Token::PGCubeRoot,
        "->" => Token::Arrow,
        "->>" => Token::LongArrow,
        "#>" => Token::HashArrow,
        "#>>" => Token::HashLongArrow,
        "@>" => Token::AtArrow,
        "<@" => Token::ArrowAt,
        "#-" => Token::HashMinus,
        "@?" => Token::AtQuestion,
        "@@" => Token::AtAt,
        "?" => Token::Question,
        "?&" => Token::QuestionAnd,
        "?|" => Token::QuestionPipe,
        other => Token::CustomBinaryOperator(other.into()),
    }
}
