//! A spelling that was confirmed once has one shape, whatever the literals are.

use std::collections::HashMap;

use super::Spelling;
use crate::facts::Literal;
use crate::shape::Shape;

/// Each spelling that was seen, with what the lexer made of its texts.
#[derive(Default)]
struct Seen {
    spellings: HashMap<Vec<u8>, Spelled>,
}

#[derive(Default)]
struct Spelled {
    /// A text that confirmed it, and its shape.
    confirmed: Option<(Vec<u8>, Vec<u8>)>,
    /// Texts, their shapes, and whether their literals are where the scan found them.
    texts: Vec<(Vec<u8>, Vec<u8>, bool)>,
}

impl Seen {
    fn see(&mut self, sql: &[u8], conforming: bool) {
        let mut spelling = Spelling::default();
        if !spelling.read(sql, conforming) {
            return;
        }
        let mut shape = Shape::default();
        shape.read(sql, conforming, true);
        let spelled = self.spellings.entry(spelling.text.clone()).or_default();
        if spelling.confirmed_by(&shape.literals) {
            spelled.confirmed.get_or_insert_with(|| (sql.to_vec(), shape.text.clone()));
        }
        spelled.texts.push((sql.to_vec(), shape.text, shape.literals == spelling.literals));
    }

    /// Holds every text to the one that confirmed its spelling; how many there were to hold.
    fn check(&self) -> usize {
        let mut held = 0;
        for spelled in self.spellings.values() {
            let Some((model, shape)) = &spelled.confirmed else { continue };
            for (text, other, found) in &spelled.texts {
                let names = (String::from_utf8_lossy(model), String::from_utf8_lossy(text));
                assert_eq!(shape, other, "{names:?}");
                assert!(found, "{names:?}");
            }
            held += spelled.texts.len() - 1;
        }
        held
    }
}

/// What begins, ends, hides or carries on a literal.
const PIECES: &[&str] = &[
    "1", "23", "2.", "4.5", "'a'", "'--'", "'", "\"", ".", "e", "U&", "$", "$$", "-", "--", "/*", "*/", " ",
    "\n", "\u{1}", "\u{2}", "\\", "UESCAPE",
];

/// A generator of the same numbers each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % below
    }

    fn piece<'p>(&mut self, pieces: &[&'p str]) -> &'p str {
        pieces[self.next(pieces.len())]
    }
}

#[test]
fn all_short_texts_of_one_spelling_have_one_shape() {
    let mut seen = Seen::default();
    for number in 0..PIECES.len().pow(3) {
        let at = |place: u32| PIECES[number / PIECES.len().pow(place) % PIECES.len()];
        let sql = format!("SELECT {}{}{}", at(0), at(1), at(2));
        seen.see(sql.as_bytes(), true);
        seen.see(sql.as_bytes(), false);
    }
    assert!(seen.check() > 1000);
}

#[test]
fn long_texts_of_one_spelling_have_one_shape() {
    const WORDS: &[&str] = &[
        "SELECT ",
        " a",
        "\"b\"",
        ", ",
        "(",
        ")",
        " FROM t WHERE ",
        " = ",
        "::int",
        " ORDER BY ",
        " LIMIT ",
        ";",
        " set_config(",
        "$1",
        "t1.",
        " IN (",
        "CREATE ",
        "EXPLAIN ",
        "UPDATE t SET a = ",
        "/* c */",
        "-- c\n",
        "/* pgweir: role=primary */",
    ];
    const LITERALS: &[&str] = &[
        "7", "0", "12.50", "1e5", "0x1F", "5.", ".5", "1_0", "12a", "1..2", "'x'", "''", "'it''s'", "'/*'",
        "'\"'", "'$$'", "'\\'", "'\u{1}'", "'x'\n'y'", "'x' 'y'", "'x'\n", "'x", "E'\\''", "$$x$$", "$x$",
        "\u{1}", "\u{2}",
    ];
    let mut numbers = Numbers(3);
    let mut seen = Seen::default();
    for _ in 0..4_000 {
        // Texts that differ in their literals only, or in what might be taken for one.
        let frame: Vec<&str> = (0..2 + numbers.next(8))
            .map(|_| match numbers.next(9) {
                0..4 => numbers.piece(WORDS),
                4 => numbers.piece(PIECES),
                _ => "",
            })
            .collect();
        for _ in 0..6 {
            let mut sql = String::from(if numbers.next(4) == 0 { "" } else { "SELECT " });
            for part in &frame {
                sql.push_str(if part.is_empty() { numbers.piece(LITERALS) } else { part });
            }
            seen.see(sql.as_bytes(), true);
        }
    }
    assert!(seen.check() > 500);
}

#[test]
fn random_changes_keep_the_promise() {
    const SQL: &[u8] =
        b"SELECT a1, 'x', \"b2\" FROM t WHERE c = 3 AND d='it''s' AND e > 4.5 /* f6 */ OR g=$7";
    const BYTES: &[u8] = b"'\"$.-/*& \n\\1a\x01\x02\xff";
    let mut numbers = Numbers(5);
    let mut seen = Seen::default();
    for _ in 0..30_000 {
        let mut sql = SQL.to_vec();
        for _ in 0..numbers.next(3) {
            let place = numbers.next(sql.len());
            match numbers.next(3) {
                0 => sql.insert(place, BYTES[numbers.next(BYTES.len())]),
                1 => sql[place] = BYTES[numbers.next(BYTES.len())],
                _ => drop(sql.remove(place)),
            }
        }
        seen.see(&sql, numbers.next(4) > 0);
    }
    assert!(seen.check() > 1000);
}

#[test]
fn literals_are_where_the_lexer_finds_them() {
    let found = |sql: &str| {
        let mut spelling = Spelling::default();
        let mut shape = Shape::default();
        shape.read(sql.as_bytes(), true, true);
        (spelling.read(sql.as_bytes(), true) && spelling.confirmed_by(&shape.literals))
            .then_some(spelling.literals)
    };
    let literal = |start, end, string| Literal { start, end, string };
    assert_eq!(found("SELECT 1"), Some(vec![literal(7, 8, false)]));
    assert_eq!(found("SELECT 1.5,'a''b' "), Some(vec![literal(7, 10, false), literal(11, 17, true)]));
    assert_eq!(found("SELECT a1, _2, é3 FROM t2 WHERE \"b\" = $3"), Some(vec![]));
    assert_eq!(found("BEGIN"), Some(vec![]));
    for unsure in [
        "SELECT a FROM t ORDER BY 1",
        "SET a = 1",
        "SELECT E'a'",
        "SELECT $$a$$",
        "SELECT 'a'\n'b'",
        "SELECT 1e5",
        "SELECT .5",
        "SELECT 1 -- 2",
        "SELECT \"1 2\", 3",
        "SELECT '\u{1}', \"\u{1}\"",
    ] {
        assert_eq!(found(unsure), None, "{unsure}");
    }
}
