//! The home of authentication: what a client must prove, and whether it has. AuthenticationOk is left to whoever
//! serves the client.

use config::{AuthMethod, Config, StoredPassword, User};
use net::{Peer, Stream};
use wire::frontend::{Password, SaslInitial};
use wire::scram::{Candidates, ScramError, ScramKeys, ServerExchange};
use wire::{encode, md5};

use super::io::{read_answer, send};
use super::refusal::Unproven;
use super::{Refusal, Secrets};

/// Who wants in, where to, and from where.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim<'a> {
    pub(super) user: &'a str,
    pub(super) database: &'a str,
    pub(super) peer: Peer,
}

/// Has the client prove that it is who it claims to be. `out` holds what is to be sent before.
///
/// Gives the keys that a proof by SCRAM revealed, if no password is known that could do more: they log in at a server
/// that stores the same secret.
pub(super) async fn authenticate(
    stream: &mut Stream,
    out: Vec<u8>,
    claim: Claim<'_>,
    config: &Config,
    secrets: &Secrets,
) -> Result<Option<ScramKeys>, Refusal> {
    let address = match claim.peer {
        Peer::Tcp(address) => Some(address.ip()),
        Peer::Unix { .. } => None,
    };
    let user = config.users.get(claim.user);
    let mut exchange = Exchange { stream, out, name: claim.user, user };
    match config.auth_method(address, claim.user, claim.database) {
        AuthMethod::Trust => {
            exchange.flush().await?;
            Ok(None)
        }
        AuthMethod::Reject => {
            exchange.flush().await?;
            Err(Refusal::Rejected { user: claim.user.to_owned(), database: claim.database.to_owned() })
        }
        // As with Postgres, a SCRAM secret is used as what it is where MD5 is asked for.
        AuthMethod::Md5 if !user.is_some_and(has_only_scram) => exchange.md5().await.map(|()| None),
        AuthMethod::Md5 | AuthMethod::ScramSha256 => {
            let keys = exchange.scram(secrets).await?;
            Ok(user.is_some_and(has_no_plain).then_some(keys))
        }
    }
}

/// An authentication under way. `user` is `None` if there is none of that name.
struct Exchange<'a> {
    stream: &'a mut Stream,
    out: Vec<u8>,
    name: &'a str,
    user: Option<&'a User>,
}

impl Exchange<'_> {
    async fn md5(mut self) -> Result<(), Refusal> {
        let salt: [u8; 4] = rand::random();
        encode::authentication_md5(&mut self.out, salt);
        let body = self.ask().await?;
        let answer = Password::parse(&body)?.bytes;
        let passwords = self.user.map(|user| user.passwords.as_slice()).unwrap_or_default();
        let stored: Vec<_> = passwords.iter().filter_map(|password| self.md5_secret(password)).collect();
        // Who has no secret is checked against one that nobody knows, so that it takes the same time.
        let unknown = [md5::stored(self.name.as_bytes(), &rand::random::<[u8; 32]>())];
        let checked = if stored.is_empty() { &unknown[..] } else { &stored };
        let proved = checked.iter().fold(false, |proved, stored| md5::verify(answer, stored, salt) | proved);
        if proved && !stored.is_empty() { Ok(()) } else { Err(self.unproven(!stored.is_empty())) }
    }

    fn md5_secret(&self, password: &StoredPassword) -> Option<String> {
        match password {
            StoredPassword::Plain(plain) => {
                Some(md5::stored(self.name.as_bytes(), plain.reveal().as_bytes()))
            }
            StoredPassword::Md5(stored) => Some(stored.reveal().to_owned()),
            StoredPassword::Scram(_) => None,
        }
    }

    async fn scram(mut self, secrets: &Secrets) -> Result<ScramKeys, Refusal> {
        let known = match self.user {
            Some(user) => secrets.of(user).await,
            None => None,
        };
        let provable = known.is_some();
        let candidates = known.unwrap_or_else(|| secrets.mock(self.name));

        let tls = self.stream.end_point_binding().is_some();
        encode::authentication_sasl(&mut self.out, ServerExchange::mechanisms(tls));
        let body = self.ask().await?;
        let (exchange, server_first) = self.first(&body, candidates).await?;
        encode::sasl_continue(&mut self.out, &server_first);
        let client_final = self.ask().await?;
        match exchange.finish(&client_final) {
            Ok(success) if provable => {
                encode::sasl_final(&mut self.out, &success.server_final);
                self.flush().await?;
                Ok(success.into_keys())
            }
            Ok(_) | Err(ScramError::WrongPassword) => Err(self.unproven(provable)),
            Err(error) => Err(Refusal::Scram(error)),
        }
    }

    /// The client's first message, which it may hold back until it is asked for it once more.
    async fn first(
        &mut self,
        initial: &[u8],
        candidates: Candidates,
    ) -> Result<(ServerExchange, Vec<u8>), Refusal> {
        let initial = SaslInitial::parse(initial)?;
        let late;
        let client_first = match initial.data {
            Some(data) => data,
            None => {
                encode::sasl_continue(&mut self.out, &[]);
                late = self.ask().await?;
                &late
            }
        };
        let binding = self.stream.end_point_binding();
        ServerExchange::start(initial.mechanism, client_first, binding, candidates).map_err(Refusal::Scram)
    }

    async fn ask(&mut self) -> Result<Vec<u8>, Refusal> {
        self.flush().await?;
        read_answer(self.stream).await
    }

    async fn flush(&mut self) -> Result<(), Refusal> {
        Ok(send(self.stream, &mut self.out).await?)
    }

    fn unproven(&self, provable: bool) -> Refusal {
        let why = match self.user {
            _ if provable => Unproven::WrongPassword,
            None => Unproven::UnknownUser,
            Some(user) if user.passwords.is_empty() => Unproven::NoPassword,
            Some(_) => Unproven::OnlyMd5,
        };
        Refusal::Password { user: self.name.to_owned(), why }
    }
}

fn has_only_scram(user: &User) -> bool {
    let is_scram = |stored: &StoredPassword| matches!(stored, StoredPassword::Scram(_));
    !user.passwords.is_empty() && user.passwords.iter().all(is_scram)
}

fn has_no_plain(user: &User) -> bool {
    !user.passwords.iter().any(|stored| matches!(stored, StoredPassword::Plain(_)))
}
