//! What few clients do: FunctionCall, odd bytes, wrong lengths, unknown messages.

use testkit::Script;

use crate::case::Case;

const A: &str = "INSERT INTO log VALUES ('a')";
const LOG: &str = "SELECT * FROM log";
/// OIDs of functions: upper(text), int4pl(int4, int4), version().
const UPPER: u32 = 871;
const INT4PL: u32 = 177;
const NO_FUNCTION: u32 = 3_999_999;

fn s() -> Script {
    Script::new()
}

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("FunctionCall").ask(s().function_call(UPPER, &[Some("abc")])).fragmented(),
        Case::new("FunctionCall with NULL").ask(s().function_call(UPPER, &[None])),
        Case::new("FunctionCall with two arguments").ask(s().function_call(INT4PL, &[Some("2"), Some("3")])),
        Case::new("FunctionCall of no function").ask(s().function_call(NO_FUNCTION, &[])).query("SELECT 1"),
        Case::new("FunctionCall with a wrong number")
            .ask(s().function_call(INT4PL, &[Some("2")]))
            .query("SELECT 1"),
        Case::new("FunctionCall in a transaction")
            .query("BEGIN")
            .query(A)
            .ask(s().function_call(UPPER, &[Some("x")]))
            .ask(s().function_call(INT4PL, &[Some("y"), Some("1")]))
            .query(LOG)
            .query("ROLLBACK")
            .query(LOG),
        Case::new("FunctionCall first in a transaction")
            .query("BEGIN")
            .ask(s().function_call(UPPER, &[Some("x")]))
            .query("COMMIT"),
        Case::new("FunctionCall in a pipeline")
            .ask(s().run(A, &[]).sync().function_call(UPPER, &[Some("x")]).run(LOG, &[]).sync()),
        Case::new("invalid UTF-8 in a Query")
            .ask(s().message(b'Q', b"SELECT '\xff\xfe'\0"))
            .query("SELECT 1")
            .fragmented(),
        Case::new("invalid UTF-8 in Parse")
            .ask(s().message(b'P', b"s\0SELECT '\xc3('\0\0\0").sync())
            .query("SELECT 1"),
        Case::new("invalid UTF-8 in a value").ask(
            s().parse("", "SELECT $1::text", &[])
                .bind_as("", "", &[], &[Some(b"\xff")], &[])
                .execute("", 0)
                .sync(),
        ),
        Case::new("a NUL in a value").ask(
            s().parse("", "SELECT $1::text", &[])
                .bind_as("", "", &[], &[Some(b"a\0b")], &[])
                .execute("", 0)
                .sync(),
        ),
        // The names of statements are pgweir's to keep: they aren't sent, and need not be text.
        Case::new("invalid UTF-8 in the name of a portal")
            .ask(s().parse("", "SELECT 1", &[]).message(b'B', b"p\xfe\0\0\0\0\0\0\0\0").execute("", 0).sync())
            .query("SELECT 1"),
        Case::new("invalid UTF-8 in COPY")
            .until(s().query("COPY log FROM STDIN"), b'G', 1)
            .ask_for(s().copy_data(b"\xff\n").copy_done(), 1),
        Case::new("a NUL in a Query").ask(s().message(b'Q', b"SELECT 1\0; SELECT 2\0")).query("SELECT 1"),
        Case::new("a Query without its terminator").ask(s().message(b'Q', b"SELECT 1")).query("SELECT 1"),
        Case::new("a Query without a body").ask(s().message(b'Q', b"")).query("SELECT 1"),
        Case::new("a Query without its terminator, in a transaction")
            .query("BEGIN")
            .query(A)
            .ask(s().message(b'Q', b"SELECT 1"))
            .query(LOG)
            .query("ROLLBACK"),
        Case::new("a Query without its terminator, first in a transaction")
            .query("BEGIN")
            .ask(s().message(b'Q', b"SELECT 1"))
            .query(LOG)
            .query("ROLLBACK"),
        Case::new("an empty Parse").ask(s().message(b'P', b"").sync()).query("SELECT 1"),
        Case::new("a Parse that ends early")
            .ask(s().message(b'P', b"s\0SELECT 1\0\0\x05\0\0\0\x17").sync())
            .query("SELECT 1"),
        Case::new("an empty Bind").ask(s().message(b'B', b"").sync()).query("SELECT 1"),
        Case::new("an empty Execute").ask(s().message(b'E', b"").sync()).query("SELECT 1"),
        Case::new("an empty Describe").ask(s().message(b'D', b"").sync()).query("SELECT 1"),
        Case::new("a Describe of something else").ask(s().message(b'D', b"X\0").sync()).query("SELECT 1"),
        Case::new("a Close of something else").ask(s().message(b'C', b"X\0").sync()).query("SELECT 1"),
        Case::new("a Sync with a body").ask(s().message(b'S', b"abc")).query("SELECT 1"),
        Case::new("a Flush with a body").ask(s().message(b'H', b"abc").sync()).query("SELECT 1"),
        Case::new("a Bind value past its message")
            .ask(
                s().parse("", "SELECT $1::text", &[])
                    .message(b'B', b"\0\0\0\0\0\x01\0\0\x10\0ab\0\0")
                    .execute("", 0)
                    .sync(),
            )
            .query("SELECT 1")
            .fragmented(),
        Case::new("a Bind value of length -2")
            .ask(
                s().parse("", "SELECT $1::text", &[])
                    .message(b'B', b"\0\0\0\0\0\x01\xff\xff\xff\xfeab\0\0")
                    .execute("", 0)
                    .sync(),
            )
            .query("SELECT 1"),
        Case::new("a Bind with bytes behind it")
            .ask(
                s().parse("", "SELECT $1::text", &[])
                    .message(b'B', b"\0\0\0\0\0\x01\0\0\0\x01a\0\0xyz")
                    .execute("", 0)
                    .sync(),
            )
            .query("SELECT 1"),
        Case::new("a Bind that ends in its counts")
            .ask(s().parse("", "SELECT 1", &[]).message(b'B', b"\0\0\0").execute("", 0).sync())
            .query("SELECT 1"),
        Case::new("malformed in a transaction")
            .query("BEGIN")
            .query(A)
            .query("SAVEPOINT s")
            .ask(s().message(b'B', b"").sync())
            .query("ROLLBACK TO s")
            .ask(s().message(b'E', b"").sync())
            .query("COMMIT")
            .query(LOG),
        Case::new("malformed in the middle of a pipeline")
            .ask(s().run(A, &[]).message(b'B', b"").run(LOG, &[]).sync().run(LOG, &[]).sync()),
        Case::new("unknown message").ends_with(s().message(b'y', b"abc")),
        Case::new("unknown message in a transaction")
            .query("BEGIN")
            .query(A)
            .ends_with(s().message(b'y', b"abc")),
        Case::new("unknown message in a deferred transaction")
            .query("BEGIN")
            .ends_with(s().message(b'y', b"abc")),
        Case::new("unknown message in a pipeline").ends_with(s().run(A, &[]).message(b'y', b"abc").sync()),
        Case::new("unknown message behind Sync").ends_with(s().run(A, &[]).sync().message(b'y', b"abc")),
        Case::new("unknown message behind an error")
            .ends_with(s().run("SELECT 1/0", &[]).message(b'y', b"abc").sync()),
        Case::new("a message of NUL").ends_with(s().message(0, b"")),
        Case::new("a password that nobody asked for").ends_with(s().message(b'p', b"secret\0")),
        Case::new("gone in the middle of a message").send(s().raw(b"Q\0\0\0\x40SELECT")).vanishes(),
        Case::new("gone in the middle of a Bind")
            .query("BEGIN")
            .query(A)
            .send(
                s().parse("", "INSERT INTO log VALUES ($1)", &[])
                    .raw(b"B\0\x0f\0\0\0\0\0\0\0\x01\0\x0e\xff\xffxxxx"),
            )
            .vanishes(),
        Case::new("gone in the middle of a pipeline").send(s().run(A, &[]).run(LOG, &[])).vanishes(),
        Case::new("goodbye at once").ends_with(s().terminate()),
        Case::new("goodbye in a pipeline").ends_with(s().run(A, &[]).terminate()),
        Case::new("a deep expression")
            .query(&format!("SELECT {}1{}", "(".repeat(5000), ")".repeat(5000)))
            .query("SELECT 1"),
        Case::new("an expression too deep")
            .query(&format!("SELECT {}1{}", "-(".repeat(20_000), ")".repeat(20_000)))
            .query("SELECT 1"),
    ]
}
