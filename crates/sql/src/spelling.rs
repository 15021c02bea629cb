//! The spelling of a text: its bytes as they came, without its plain strings and decimal numbers. It is a shorter way
//! to facts than the shape, for texts that a program writes again and again in the same way.
//!
//! The scan knows nothing of tokens: it only looks for quotes, and for digits that don't go on a name or a parameter.
//! So a spelling is worth something only once the lexer has confirmed it: it may be remembered if what the scan left
//! out of a text is exactly what the shape leaves out of it (`confirmed_by`). Then every text of this spelling has that
//! shape, and its literals are where the scan found them:
//!
//! - The lexer goes over both texts in step: between literals they have the same bytes, and no quote among them. What
//!   has no end there (a comment, a quoted identifier) holds no literal in the first text, so it has none in the other.
//! - A literal begins with a quote, or a digit, in both. So what is before it (a prefix, say, or a point) and what is
//!   behind it (an exponent, or blanks and one more quote) would belong to it in both, and in the first it doesn't.
//! - The literals themselves differ. A string ends at the first quote that isn't doubled, whatever is in it. A number
//!   has a fraction or not, and only one without could take a point that follows: there the scan gives up.

#[cfg(test)]
mod tests;

use crate::facts::Literal;

/// How many bytes are looked at together: a loop over an array of so many becomes a few vector instructions.
const BLOCK: usize = 16;

/// What stands for a literal. A text may hold these bytes too: the number of literals tells them apart.
const STRING_MARK: u8 = 1;
const NUMBER_MARK: u8 = 2;

/// How many bytes the number of literals and the setting take.
const TRAILER: usize = size_of::<u32>();

/// A text's spelling and literals, in buffers that are used again.
#[derive(Debug, Default)]
pub(crate) struct Spelling {
    /// The text with marks for literals; behind it their number and the setting.
    pub(crate) text: Vec<u8>,
    /// The literals that were left out.
    pub(crate) literals: Vec<Literal>,
}

impl Spelling {
    /// Reads a text; false if it holds something that only the lexer understands. Without conforming strings every
    /// string is such a thing.
    pub(crate) fn read(&mut self, sql: &[u8], conforming: bool) -> bool {
        self.literals.clear();
        self.text.clear();
        self.text.reserve(sql.len() + TRAILER);
        let mut copied = 0;
        let mut at = 0;
        loop {
            at += plain(&sql[at..]);
            let Some(&first) = sql.get(at) else { break };
            let string = first == b'\'';
            if !string && at > 0 && is_identifier(sql[at - 1]) {
                // The digits of a name or a parameter.
                at = digits_end(sql, at);
                continue;
            }
            let end = match string {
                true if conforming => string_end(sql, at),
                true => None,
                false => number_end(sql, at),
            };
            let Some(end) = end else { return false };
            self.text.extend_from_slice(&sql[copied..at]);
            self.text.push(if string { STRING_MARK } else { NUMBER_MARK });
            self.literals.push(Literal { start: place(at), end: place(end), string });
            (copied, at) = (end, end);
        }
        self.text.extend_from_slice(&sql[copied..]);
        let trailer = place(self.literals.len()) << 1 | u32::from(conforming);
        self.text.extend_from_slice(&trailer.to_le_bytes());
        true
    }

    /// Whether all texts of this spelling have the shape of this one, of which the lexer left out these literals.
    pub(crate) fn confirmed_by(&self, literals: &[Literal]) -> bool {
        let Some((text, _)) = self.text.split_last_chunk::<TRAILER>() else { return false };
        let marks = text.iter().filter(|&&byte| byte == STRING_MARK || byte == NUMBER_MARK).count();
        self.literals == literals && marks == literals.len()
    }
}

/// The analyzer refuses texts that don't fit before it comes here.
fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// How many bytes come before the first quote or digit.
#[inline]
fn plain(text: &[u8]) -> usize {
    let is_mark = |byte: u8| byte == b'\'' || byte.wrapping_sub(b'0') < 10;
    let (blocks, _) = text.as_chunks::<BLOCK>();
    let skip = |block: &&[u8; BLOCK]| !block.iter().fold(false, |found, &byte| found | is_mark(byte));
    let start = BLOCK * blocks.iter().take_while(skip).count();
    let rest = &text[start..];
    start + rest.iter().position(|&byte| is_mark(byte)).unwrap_or(rest.len())
}

/// Past the number at `start`, if no point follows that may or may not be a part of it.
#[inline]
fn number_end(sql: &[u8], start: usize) -> Option<usize> {
    let end = digits_end(sql, start);
    if sql.get(end) != Some(&b'.') {
        return Some(end);
    }
    let fraction = end + 1;
    Some(digits_end(sql, fraction)).filter(|&end| end > fraction)
}

#[inline]
fn digits_end(sql: &[u8], start: usize) -> usize {
    let rest = &sql[start..];
    start + rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len())
}

/// Past the string at `start`, if it ends.
#[inline]
fn string_end(sql: &[u8], start: usize) -> Option<usize> {
    let mut end = start + 1;
    loop {
        end += memchr::memchr(b'\'', &sql[end..])? + 1;
        if sql.get(end) != Some(&b'\'') {
            return Some(end);
        }
        end += 1;
    }
}

/// As the lexer has it: what an identifier may go on with.
#[inline]
fn is_identifier(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}
