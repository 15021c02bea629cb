//! What a client of `app` says where a test expects success, or an error, and the parts of an answer that differ from
//! run to run.

use testkit::{Client, Frame, Pgweir, ServerError, first_error};

/// A client of `app` in its database.
///
/// # Panics
/// If it isn't let in.
pub async fn client(pgweir: &Pgweir) -> Client {
    pgweir.client("app", "app").connect().await.expect("app may log in")
}

/// The single value that a statement gives.
///
/// # Panics
/// On an error.
pub async fn value(client: &mut Client, sql: &str) -> String {
    client.value(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// Runs statements of which success is expected.
///
/// # Panics
/// On an error.
pub async fn run(client: &mut Client, statements: &[&str]) {
    for sql in statements {
        client.rows(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

/// The error of a statement that is to fail.
///
/// # Panics
/// If it doesn't.
pub async fn refusal(client: &mut Client, sql: &str) -> ServerError {
    let frames = client.query(sql).await.expect("an answer");
    first_error(&frames).unwrap_or_else(|| panic!("{sql}: {frames:?}"))
}

/// Messages of these tags (errors, notices) without the place in Postgres' source; others as they are.
pub fn without_source(mut frame: Frame, tags: &[u8]) -> Frame {
    if tags.contains(&frame.tag) {
        let fields = frame.body.split(|byte| *byte == 0).filter(|field| !field.is_empty());
        let fields = fields.filter(|field| !matches!(field[0], b'F' | b'L' | b'R'));
        frame.body = fields.flat_map(|field| [field, b"\0"].concat()).collect();
    }
    frame
}
