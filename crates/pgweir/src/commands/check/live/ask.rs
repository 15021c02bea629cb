//! One question to one server, by the same login as pgweir's own connections.

use std::time::Duration;

use anyhow::{Context, bail};
use backend::connect::{Login, ServerTarget};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wire::backend::{DataRow, ErrorFields};
use wire::{encode, frame, tag};

/// An answer is one short row.
const MAX_BODY: usize = 64 << 10;

/// The values of the one row that `sql` gives, as text; an empty one for NULL.
pub(super) async fn ask(
    target: &ServerTarget,
    user: &str,
    password: Option<&str>,
    database: &str,
    limit: Duration,
    sql: &str,
) -> anyhow::Result<Vec<String>> {
    let login = Login::new(user, database, password, limit);
    let mut stream = backend::connect::connect(target, &login).await?.stream;
    let mut message = Vec::new();
    encode::query(&mut message, sql.as_bytes())?;
    stream.write_all(&message).await?;
    let (mut row, mut frame) = (None, Vec::new());
    loop {
        let kind = read_frame(&mut stream, &mut frame).await?;
        let body = frame::body(&frame);
        match kind {
            tag::DATA_ROW => row = Some(texts(&DataRow::parse(body)?)),
            tag::ERROR_RESPONSE => bail!("{}", ErrorFields::parse(body)?.message()),
            tag::READY_FOR_QUERY => break,
            tag::ROW_DESCRIPTION | tag::COMMAND_COMPLETE | tag::NOTICE_RESPONSE | tag::PARAMETER_STATUS => {}
            other => bail!("the server sent an unexpected message of type {:?}", char::from(other)),
        }
    }
    message.clear();
    encode::terminate(&mut message);
    // The answer is here; whether the farewell arrives changes nothing.
    let _ = stream.write_all(&message).await;
    row.context("the server gave no row")
}

/// Reads one whole message into `frame`; its type.
async fn read_frame(stream: &mut net::Stream, frame: &mut Vec<u8>) -> anyhow::Result<u8> {
    frame.resize(frame::HEADER, 0);
    stream.read_exact(frame).await?;
    let head = frame::peek(frame, MAX_BODY)?.context("a message without a head")?;
    frame.resize(head.total, 0);
    stream.read_exact(frame.get_mut(frame::HEADER..).unwrap_or_default()).await?;
    Ok(head.tag)
}

fn texts(row: &DataRow<'_>) -> Vec<String> {
    row.iter().map(|value| String::from_utf8_lossy(value.unwrap_or_default()).into_owned()).collect()
}
