//! Both sides against each other, against another client, and against everything bad: what all tests share.

mod exchanges;
mod refusals;

use super::*;

const SALT: &[u8] = b"0123456789abcdef";
const HASH: &[u8] = &[0xab; 32];

fn secret(password: &str) -> ScramSecret {
    // Few iterations: how many there are changes nothing but the time.
    ScramSecret::from_password(password.as_bytes(), SALT, 16)
}

fn plain(client_first: &[u8]) -> Result<(ServerExchange, Vec<u8>), ScramError> {
    ServerExchange::start(SCRAM_SHA_256.as_bytes(), client_first, None, secret("pencil"))
}

fn plus(client_first: &[u8]) -> Result<(ServerExchange, Vec<u8>), ScramError> {
    ServerExchange::start(SCRAM_SHA_256_PLUS.as_bytes(), client_first, Some(HASH), secret("pencil"))
}

/// Our client against our server, with the certificate hashes that each of them sees.
fn exchange(
    binding: ClientBinding,
    server_hash: Option<&[u8]>,
    credential: ClientCredential<'_>,
    candidates: impl Into<Candidates>,
) -> Result<(ServerSuccess, ScramKeys), ScramError> {
    let client = ClientFirst::new(binding);
    let mechanism = client.mechanism().as_bytes();
    let (server, server_first) =
        ServerExchange::start(mechanism, &client.message(), server_hash, candidates)?;
    let (client, client_final) = client.answer(&server_first, credential)?;
    let success = server.finish(&client_final)?;
    let keys = client.verify(&success.server_final)?;
    Ok((success, keys))
}
