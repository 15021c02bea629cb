//! The home of what comes before a session begins: TLS asked for or begun at once, cancel requests, the startup packet.

use net::{ServerTls, Stream};
use wire::encode;
use wire::startup::{Initial, StartupError, StartupParameters};

use super::Refusal;
use super::io::{has_more, read_initial, send};

/// What a client came for.
#[derive(Debug)]
pub(super) enum Hello {
    /// Nothing: it has closed.
    Nothing,
    /// To cancel what another session does; the stream is to be closed when that is over.
    Cancel { stream: Stream, pid: u32, key: Vec<u8> },
    /// A session.
    Session(Stream, Box<StartupParameters>),
}

/// A refusal, and the stream on which to tell it, unless that broke.
pub(super) type Refused = (Option<Stream>, Refusal);

/// Speaks with a client up to its startup packet. `tls`: what is offered.
///
/// Each of SSLRequest and GSSENCRequest may come once, in either order as long as neither was accepted (Postgres
/// documentation, "SSL Session Encryption" and "GSSAPI Session Encryption").
pub(super) async fn hello(stream: Stream, tls: Option<&ServerTls>) -> Result<Hello, Refused> {
    let mut stream = direct_tls(stream, tls).await.map_err(|refusal| (None, refusal))?;
    let (mut may_ask_tls, mut may_ask_gss) = (true, true);
    loop {
        match read_initial(&mut stream).await {
            Err(refusal) => return Err((Some(stream), refusal)),
            Ok(None) => return Ok(Hello::Nothing),
            Ok(Some(Initial::Cancel { pid, key })) => return Ok(Hello::Cancel { stream, pid, key }),
            Ok(Some(Initial::Start(startup))) => return Ok(Hello::Session(stream, Box::new(startup))),
            Ok(Some(Initial::Ssl)) if may_ask_tls => {
                may_ask_tls = false;
                stream = answer_tls_request(stream, tls).await?;
                // Inside TLS nobody asks for another encryption.
                may_ask_gss &= !stream.is_tls();
            }
            Ok(Some(Initial::Gss)) if may_ask_gss => {
                may_ask_gss = false;
                stream = answer(stream, b'N').await?;
            }
            Ok(Some(again @ (Initial::Ssl | Initial::Gss))) => {
                return Err((Some(stream), asked_again(&again)));
            }
        }
    }
}

async fn direct_tls(stream: Stream, tls: Option<&ServerTls>) -> Result<Stream, Refusal> {
    if !stream.opens_with_tls().await? {
        return Ok(stream);
    }
    let tls = tls.ok_or(Refusal::NoDirectTls)?;
    stream.accept_direct_tls(tls).await.map_err(Refusal::Handshake)
}

/// `S` and the handshake, or `N`: without TLS, inside TLS, and on a Unix socket, as with Postgres.
async fn answer_tls_request(stream: Stream, tls: Option<&ServerTls>) -> Result<Stream, Refused> {
    let Some(tls) = tls.filter(|_| !stream.is_tls() && !stream.is_unix()) else {
        return answer(stream, b'N').await;
    };
    // What waits behind the request was sent in plain, by whomever, and must not count as said inside TLS
    // (CVE-2021-23214).
    match has_more(&stream).await {
        Ok(false) => {}
        Ok(true) => return Err((Some(stream), Refusal::PlainAfterTlsRequest)),
        Err(broken) => return Err((None, broken.into())),
    }
    let stream = answer(stream, b'S').await?;
    stream.accept_tls(tls).await.map_err(|error| (None, Refusal::Handshake(error)))
}

async fn answer(mut stream: Stream, byte: u8) -> Result<Stream, Refused> {
    match send(&mut stream, &mut vec![byte]).await {
        Ok(()) => Ok(stream),
        Err(broken) => Err((None, broken.into())),
    }
}

/// A second request is read as a version number, as Postgres does.
fn asked_again(request: &Initial) -> Refusal {
    let minor = if matches!(request, Initial::Ssl) { 5679 } else { 5680 };
    Refusal::Startup(StartupError::Version { major: 1234, minor })
}

/// Tells a client that asks for more than is known here what is.
pub(super) fn negotiate(startup: &StartupParameters, out: &mut Vec<u8>) {
    if startup.must_negotiate() {
        encode::negotiate_protocol_version(out, startup.spoken_minor(), startup.protocol_options());
    }
}

/// Refuses replication connections; a `replication` that says no is none.
pub(super) fn check_replication(startup: &StartupParameters) -> Result<(), Refusal> {
    let Some(value) = startup.get("replication") else { return Ok(()) };
    match value.to_ascii_lowercase().as_str() {
        "false" | "off" | "no" | "0" | "f" | "n" => Ok(()),
        "true" | "on" | "yes" | "1" | "t" | "y" | "database" => Err(Refusal::Replication),
        _ => Err(Refusal::InvalidReplication(value.to_owned())),
    }
}
