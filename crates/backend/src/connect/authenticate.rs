//! The home of proving to a server who we are, and of not proving it to one that asks for too little.

use wire::backend::Authentication;
use wire::scram::{ClientBinding, ClientCredential, ClientFinal, ClientFirst, ScramError};
use wire::{encode, md5, tag};

use super::channel::{Channel, Frame};
use super::{ConnectError, Login, ServerTarget};

const CLEARTEXT: &str = "the password in clear text";
const MD5: &str = "an MD5 password";
const SCRAM: &str = "SCRAM-SHA-256";

/// From the startup message to AuthenticationOk.
pub(super) async fn authenticate(
    channel: &mut Channel,
    target: &ServerTarget,
    login: &Login,
) -> Result<(), ConnectError> {
    let body = next(channel).await?;
    match Authentication::parse(&body)? {
        Authentication::Ok => allow(target, "nothing at all"),
        Authentication::CleartextPassword => {
            allow(target, CLEARTEXT)?;
            cleartext(channel, login).await
        }
        Authentication::Md5 { salt } => {
            allow(target, MD5)?;
            md5(channel, login, salt).await
        }
        Authentication::Sasl { mechanisms } => {
            let binding = channel.stream().end_point_binding().map(<[u8]>::to_vec);
            let binding = ClientBinding::choose(&mechanisms, binding)
                .ok_or(ConnectError::Protocol("it offers no mechanism of SASL that is known"))?;
            scram(channel, login, binding).await
        }
        Authentication::SaslContinue(_) | Authentication::SaslFinal(_) => Err(out_of_turn()),
        Authentication::Other(code) => Err(ConnectError::Unsupported(code)),
    }
}

/// Anything but SCRAM, which proves the server too.
fn allow(target: &ServerTarget, asked: &'static str) -> Result<(), ConnectError> {
    if target.require_scram {
        return Err(ConnectError::Forbidden { asked, why: "SCRAM is required" });
    }
    Ok(())
}

async fn cleartext(channel: &mut Channel, login: &Login) -> Result<(), ConnectError> {
    if !channel.stream().is_tls() && !channel.stream().is_unix() {
        return Err(ConnectError::Forbidden { asked: CLEARTEXT, why: "the connection isn't encrypted" });
    }
    let password = login.password.as_ref().ok_or_else(|| no_password(CLEARTEXT))?;
    let mut answer = Vec::new();
    encode::password(&mut answer, password.reveal().as_bytes())?;
    channel.send(&answer).await?;
    await_ok(channel).await
}

async fn md5(channel: &mut Channel, login: &Login, salt: [u8; 4]) -> Result<(), ConnectError> {
    let proof = match (&login.password, &login.md5) {
        (Some(password), _) => md5::hash(login.user.as_bytes(), password.reveal().as_bytes(), salt),
        (None, Some(stored)) => md5::hash_stored(stored.reveal(), salt).ok_or_else(|| no_password(MD5))?,
        (None, None) => return Err(no_password(MD5)),
    };
    let mut answer = Vec::new();
    encode::password(&mut answer, proof.as_bytes())?;
    channel.send(&answer).await?;
    await_ok(channel).await
}

async fn scram(channel: &mut Channel, login: &Login, binding: ClientBinding) -> Result<(), ConnectError> {
    if login.password.is_none() && login.shown_keys().is_none() {
        return Err(no_password(SCRAM));
    }
    let exchange = ClientFirst::new(binding);
    let mut message = Vec::new();
    encode::sasl_initial(&mut message, exchange.mechanism(), &exchange.message())?;
    channel.send(&message).await?;

    let body = next(channel).await?;
    let Authentication::SaslContinue(server_first) = Authentication::parse(&body)? else {
        return Err(out_of_turn());
    };
    let salt_and_iterations = salt_and_iterations(server_first);
    let (exchange, answer) = answer(exchange, login, server_first, salt_and_iterations).await?;
    message.clear();
    encode::sasl_response(&mut message, &answer)?;
    channel.send(&message).await?;

    let body_of_final = next(channel).await?;
    let Authentication::SaslFinal(server_final) = Authentication::parse(&body_of_final)? else {
        return Err(out_of_turn());
    };
    let keys = exchange.verify(server_final)?;
    if login.password.is_some() {
        login.remember(salt_and_iterations.into(), keys);
    }
    await_ok(channel).await
}

/// The proof, from keys if there are any for this salt, else from the password; that takes thousands of hashes, so it
/// isn't done on the thread that relays.
async fn answer(
    exchange: ClientFirst,
    login: &Login,
    server_first: &[u8],
    salt_and_iterations: &[u8],
) -> Result<(ClientFinal, Vec<u8>), ConnectError> {
    let Some(password) = login.password.clone() else {
        let keys = login.shown_keys().ok_or_else(|| no_password(SCRAM))?;
        return exchange.answer(server_first, ClientCredential::Keys(&keys)).map_err(|error| match error {
            ScramError::OtherSecret => ConnectError::NoCredential {
                asked: SCRAM,
                why: "the user's secret there isn't the one that it logs in to pgweir with",
            },
            other => other.into(),
        });
    };
    if let Some(keys) = login.derived_keys(salt_and_iterations) {
        return Ok(exchange.answer(server_first, ClientCredential::Keys(&keys))?);
    }
    let server_first = server_first.to_vec();
    let work =
        move || exchange.answer(&server_first, ClientCredential::Password(password.reveal().as_bytes()));
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|stopped| ConnectError::Lost(stopped.into()))??)
}

/// What follows the nonce in the server's first message, `s=…,i=…`: keys depend on nothing else of it.
fn salt_and_iterations(server_first: &[u8]) -> &[u8] {
    server_first.iter().position(|byte| *byte == b',').map_or(&[], |comma| &server_first[comma + 1..])
}

async fn await_ok(channel: &mut Channel) -> Result<(), ConnectError> {
    let body = next(channel).await?;
    match Authentication::parse(&body)? {
        Authentication::Ok => Ok(()),
        _ => Err(out_of_turn()),
    }
}

async fn next(channel: &mut Channel) -> Result<Box<[u8]>, ConnectError> {
    match channel.next().await? {
        Frame { tag: tag::AUTHENTICATION, body } => Ok(body),
        Frame { tag, .. } => Err(ConnectError::Unexpected(char::from(tag))),
    }
}

fn out_of_turn() -> ConnectError {
    ConnectError::Protocol("an authentication message out of turn")
}

fn no_password(asked: &'static str) -> ConnectError {
    ConnectError::NoCredential { asked, why: "the user has no password for servers in the configuration" }
}
