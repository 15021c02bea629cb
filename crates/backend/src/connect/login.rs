//! The home of who pgweir is on a server, and of what it can prove that with.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use config::{PoolSettings, StoredPassword, User};
use wire::scram::ScramKeys;

/// Servers of one pool whose derived keys are remembered: more than a few differ only while a password changes.
const REMEMBERED: usize = 8;

/// A user, a database, and how to prove that one is that user. Clones share what they learn.
#[derive(Debug, Clone)]
pub struct Login {
    /// The user on the server.
    pub user: Arc<str>,
    /// The database on the server.
    pub database: Arc<str>,
    /// Further startup parameters.
    pub parameters: Vec<(String, String)>,
    /// `server_connect_timeout`: connecting, TLS and logging in together.
    pub connect_timeout: Duration,
    pub(super) password: Option<Password>,
    pub(super) md5: Option<Password>,
    keys: Arc<Mutex<KnownKeys>>,
}

/// A password or its MD5 form; `Debug` doesn't show it.
#[derive(Clone)]
pub(super) struct Password(Arc<str>);

#[derive(Default)]
struct KnownKeys {
    /// by what a server says of salt and iterations, newest first: keys of our password that this server accepted.
    derived: Vec<(Box<[u8]>, ScramKeys)>,
    /// Keys that a client's own login has shown; for users whose password pgweir doesn't know.
    shown: Option<ScramKeys>,
}

impl Login {
    /// As a user with a password, or without one.
    pub fn new(user: &str, database: &str, password: Option<&str>, connect_timeout: Duration) -> Login {
        Login {
            user: user.into(),
            database: database.into(),
            parameters: Vec::new(),
            connect_timeout,
            password: password.map(Password::new),
            md5: None,
            keys: Arc::default(),
        }
    }

    /// As the user of the configuration is known on the servers; a user that isn't in the configuration has its own
    /// name there and no password.
    pub fn of_user(user: &str, known: Option<&User>, database: &str, pool: &PoolSettings) -> Login {
        let server_user = known.and_then(|known| known.server_user.as_deref()).unwrap_or(user);
        let password = known.and_then(plain_password);
        let mut login = Login::new(server_user, database, password, pool.server_connect_timeout);
        // The MD5 form has the name in it.
        if server_user == user {
            login.md5 = known.and_then(md5_password).map(Password::new);
        }
        login
    }

    /// Takes the keys that a client's login by SCRAM has shown, for a user whose password isn't known: they open the
    /// servers where the same secret is stored.
    pub fn learn(&self, keys: ScramKeys) {
        self.keys().shown = Some(keys);
    }

    /// Whether there is something to answer a server with that asks for a password.
    pub(crate) fn has_secret(&self) -> bool {
        self.password.is_some() || self.md5.is_some() || self.keys().shown.is_some()
    }

    pub(super) fn startup_parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        let own = [("user", &*self.user), ("database", &*self.database)];
        own.into_iter().chain(self.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }

    pub(super) fn shown_keys(&self) -> Option<ScramKeys> {
        self.keys().shown.clone()
    }

    pub(super) fn derived_keys(&self, salt_and_iterations: &[u8]) -> Option<ScramKeys> {
        let keys = self.keys();
        keys.derived.iter().find(|(of, _)| **of == *salt_and_iterations).map(|(_, keys)| keys.clone())
    }

    pub(super) fn remember(&self, salt_and_iterations: Box<[u8]>, derived: ScramKeys) {
        let known = &mut self.keys().derived;
        if known.iter().all(|(of, _)| *of != salt_and_iterations) {
            known.truncate(REMEMBERED - 1);
            known.insert(0, (salt_and_iterations, derived));
        }
    }

    fn keys(&self) -> MutexGuard<'_, KnownKeys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn plain_password(user: &User) -> Option<&str> {
    let own = user.passwords.iter().find_map(|stored| match stored {
        StoredPassword::Plain(secret) => Some(secret),
        StoredPassword::Md5(_) | StoredPassword::Scram(_) => None,
    });
    user.server_password.as_ref().or(own).map(config::Secret::reveal)
}

fn md5_password(user: &User) -> Option<&str> {
    user.passwords.iter().find_map(|stored| match stored {
        StoredPassword::Md5(secret) => Some(secret.reveal()),
        StoredPassword::Plain(_) | StoredPassword::Scram(_) => None,
    })
}

impl Password {
    fn new(text: &str) -> Self {
        Password(text.into())
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Debug for KnownKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Login, REMEMBERED, ScramKeys};

    fn login() -> Login {
        Login::new("app", "app", Some("open sesame"), Duration::from_secs(1))
    }

    fn keys() -> ScramKeys {
        ScramKeys::derive(b"open sesame", b"salt", 1)
    }

    #[test]
    fn clones_share_what_they_learn() {
        let (one, other) = (login(), login());
        one.clone().remember((*b"s=c2FsdA==,i=1").into(), keys());
        assert!(one.derived_keys(b"s=c2FsdA==,i=1").is_some());
        assert!(one.derived_keys(b"s=c2FsdA==,i=2").is_none());
        assert!(other.derived_keys(b"s=c2FsdA==,i=1").is_none());
    }

    #[test]
    fn the_oldest_keys_are_forgotten_first() {
        let login = login();
        for salt in 0..=u8::try_from(REMEMBERED).unwrap() {
            login.remember([salt].into(), keys());
        }
        assert!(login.derived_keys(&[0]).is_none());
        assert!((1..=u8::try_from(REMEMBERED).unwrap()).all(|salt| login.derived_keys(&[salt]).is_some()));
    }

    #[test]
    fn secrets_are_not_shown() {
        let login = login();
        login.learn(keys());
        assert!(!format!("{login:?}").contains("sesame"), "{login:?}");
    }
}
