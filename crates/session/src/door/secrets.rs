//! The home of what users are checked against: SCRAM secrets, derived once from plain passwords, and stand-ins for
//! users that don't exist.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use config::{StoredPassword, User};
use tokio::sync::Semaphore;
use wire::scram::{Candidates, DEFAULT_ITERATIONS, MAX_ITERATIONS, ScramSecret};

/// Derivations at once, each of some milliseconds on a thread of its own: a rush of first logins must leave the
/// processor to those who relay.
const DERIVATIONS: usize = 1;

/// SCRAM secrets of users. A salt is the same for as long as the process runs, whether the user exists or not.
#[derive(Debug)]
pub(super) struct Secrets {
    seed: [u8; 32],
    derived: Mutex<HashMap<String, Derived>>,
    permits: Semaphore,
}

/// What was made of a user's passwords; of no use once they have changed.
#[derive(Debug)]
struct Derived {
    of: Vec<StoredPassword>,
    candidates: Candidates,
}

impl Secrets {
    pub(super) fn new() -> Self {
        Self { seed: rand::random(), derived: Mutex::default(), permits: Semaphore::new(DERIVATIONS) }
    }

    /// What a proof by SCRAM is checked against; `None` if none of the passwords can be used for it. Quick but for the
    /// first time after a plain password was configured.
    pub(super) async fn of(&self, user: &User) -> Option<Candidates> {
        if let Some(known) = self.known(user) {
            return Some(known);
        }
        self.like(user)?;
        // Closed never; without a permit the derivation would only be less polite.
        let _permit = self.permits.acquire().await.ok();
        // Another login of the same user may have done it meanwhile.
        if let Some(known) = self.known(user) {
            return Some(known);
        }
        let (salt, iterations) = self.like(user)?;
        let (name, passwords) = (user.name.clone(), user.passwords.clone());
        let derive = tokio::task::spawn_blocking(move || candidates(&name, &passwords, &salt, iterations));
        let candidates = derive.await.ok().flatten()?;
        let derived = Derived { of: user.passwords.clone(), candidates: candidates.clone() };
        self.lock().insert(user.name.clone(), derived);
        Some(candidates)
    }

    /// What a proof of a user that can't log in is checked against: nothing fits.
    pub(super) fn mock(&self, user: &str) -> Candidates {
        ScramSecret::mock(user.as_bytes(), &self.seed, DEFAULT_ITERATIONS).into()
    }

    /// Derives what isn't yet, and forgets who is no more: so that no user's first login takes longer than that of a
    /// user who doesn't exist.
    pub(super) async fn warm(&self, users: &BTreeMap<String, User>) {
        self.lock().retain(|name, _| users.contains_key(name));
        for user in users.values() {
            self.of(user).await;
        }
    }

    fn known(&self, user: &User) -> Option<Candidates> {
        let derived = self.lock();
        derived
            .get(&user.name)
            .filter(|known| known.of == user.passwords)
            .map(|known| known.candidates.clone())
    }

    /// Salt and iterations for all of a user's secrets: those of its first SCRAM secret, else our own.
    fn like(&self, user: &User) -> Option<(Vec<u8>, u32)> {
        let of = |stored: &StoredPassword| match stored {
            StoredPassword::Scram(text) => {
                let secret = ScramSecret::parse(text.reveal()).ok()?;
                Some((secret.salt().to_vec(), secret.iterations()))
            }
            StoredPassword::Plain(_) | StoredPassword::Md5(_) => None,
        };
        if let Some(given) = user.passwords.iter().find_map(of) {
            return Some(given);
        }
        let own = ScramSecret::mock(user.name.as_bytes(), &self.seed, DEFAULT_ITERATIONS);
        let plain = user.passwords.iter().any(|stored| matches!(stored, StoredPassword::Plain(_)));
        plain.then(|| (own.salt().to_vec(), own.iterations()))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Derived>> {
        self.derived.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The secrets with this salt and these iterations. A client is told one salt only, so that of several SCRAM secrets
/// with salts of their own just the first counts.
fn candidates(user: &str, passwords: &[StoredPassword], salt: &[u8], iterations: u32) -> Option<Candidates> {
    let mut secrets = Vec::new();
    for stored in passwords {
        match stored {
            StoredPassword::Md5(_) => {}
            StoredPassword::Plain(_) if iterations > MAX_ITERATIONS => {
                tracing::warn!(user, iterations, "beside this SCRAM secret a plain password can't be used");
            }
            StoredPassword::Plain(password) => {
                secrets.push(ScramSecret::from_password(password.reveal().as_bytes(), salt, iterations));
            }
            StoredPassword::Scram(text) => match ScramSecret::parse(text.reveal()) {
                Ok(secret) if secret.salt() == salt && secret.iterations() == iterations => {
                    secrets.push(secret)
                }
                Ok(_) => tracing::warn!(user, "a second SCRAM secret with another salt can't be used"),
                Err(error) => tracing::warn!(user, %error, "a SCRAM secret can't be read"),
            },
        }
    }
    let mut secrets = secrets.into_iter();
    Candidates::new(secrets.next()?, secrets.collect()).ok()
}
