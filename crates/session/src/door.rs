//! The home of the way in: from accepting a connection to a client that has proved who it is and sits on its core.
//!
//! It runs on the slow runtime: handshakes and password hashing must never keep a relaying core from its work. Each
//! client is a task of its own, bounded in time by `limits.client_login_timeout` and in number by
//! `limits.unauthenticated_connections`. Nothing is read past the message that is needed.

mod cancel;
mod hello;
mod io;
mod login;
mod place;
mod refusal;
mod secrets;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use config::{Config, RoleSetting, TlsMode};
use net::{Listener, Peer, Stream, TlsStream};
use wire::startup::StartupParameters;

use crate::context::{Arrival, Context, Stop, Threshold};
use cancel::{Guesses, cancel};
use hello::{Hello, Refused, check_replication, hello, negotiate};
use io::{close, farewell};
use login::{Claim, authenticate};
use place::{Place, send_on, take_place};
use refusal::Refusal;
use secrets::Secrets;

/// Warnings of a flood are this far apart at least: the log must not be what the flood fills.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(1);

/// The way in of one process. All its listeners share it: what is known of passwords, and how many cancel keys were
/// guessed.
pub struct Door {
    context: Arc<Context>,
    secrets: Secrets,
    guesses: Guesses,
    /// The address of the configuration whose passwords are being prepared.
    warmed: AtomicUsize,
}

/// Where a client stands while it logs in.
#[derive(Debug, Clone, Copy)]
struct Visit {
    peer: Peer,
    role: Option<RoleSetting>,
}

impl Door {
    /// The door to what `context` holds.
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        let warmed = AtomicUsize::new(0);
        Arc::new(Self { context, secrets: Secrets::new(), guesses: Guesses::default(), warmed })
    }

    /// Lets clients in until `Context::stop` says otherwise; then the listener is closed. `role` is that of every
    /// session that arrives at it. Must run on the slow runtime.
    pub async fn listen(self: Arc<Self>, mut listener: Listener, role: Option<RoleSetting>) {
        let mut stop = self.context.stop.subscribe();
        let mut last_warning: Option<Instant> = None;
        self.warm();
        loop {
            let (stream, peer) = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop > Stop::No) => return,
                accepted = listener.accept() => accepted,
            };
            self.warm();
            let limit = self.context.directory.load().config.limits.unauthenticated_connections;
            let Some(threshold) = self.context.seats.threshold(limit) else {
                // Not a byte is spent on it: this is what a flood looks like.
                if last_warning.is_none_or(|last| last.elapsed() >= BETWEEN_WARNINGS) {
                    last_warning = Some(Instant::now());
                    tracing::warn!(%peer, limit, "closed at once: too many clients are logging in");
                }
                continue;
            };
            let door = Arc::clone(&self);
            tokio::spawn(async move { door.greet(stream, Visit { peer, role }, threshold).await });
        }
    }

    /// Has the passwords of a new configuration prepared in the background.
    fn warm(self: &Arc<Self>) {
        let config = Arc::clone(&self.context.directory.load().config);
        let address = Arc::as_ptr(&config).addr();
        if self.warmed.swap(address, Ordering::Relaxed) != address {
            let door = Arc::clone(self);
            tokio::spawn(async move { door.secrets.warm(&config.users).await });
        }
    }

    /// One client, from its first byte to its core.
    async fn greet(&self, stream: Stream, visit: Visit, threshold: Threshold) {
        let limit = self.context.directory.load().config.limits.client_login_timeout;
        let mut stop = self.context.stop.subscribe();
        let let_in = tokio::select! {
            let_in = tokio::time::timeout(limit, self.let_in(stream, visit)) => let_in,
            _ = stop.wait_for(|stop| *stop == Stop::Now) => return,
        };
        match let_in {
            Ok(Ok(Some(arrival))) => {
                drop(threshold);
                send_on(&self.context, arrival).await;
            }
            Ok(Ok(None)) => {}
            Ok(Err((stream, refusal))) => {
                if refusal.is_noise() {
                    tracing::debug!(peer = %visit.peer, %refusal, "a client went or was closed before its login");
                }
                if let (Some(stream), Some(report)) = (stream, refusal.report()) {
                    farewell(stream, &report).await;
                }
            }
            Err(_) => tracing::info!(peer = %visit.peer, ?limit, "closed: the login took too long"),
        }
    }

    /// `None`: there is nobody to let in any more.
    async fn let_in(&self, stream: Stream, visit: Visit) -> Result<Option<Arrival>, Refused> {
        let config = Arc::clone(&self.context.directory.load().config);
        let offered = self.context.tls.load_full().filter(|_| config.listen.tls.mode != TlsMode::Disable);
        let said = hello(stream, offered.as_deref()).await.inspect_err(|(_, refusal)| {
            if !refusal.is_noise() {
                tracing::info!(peer = %visit.peer, reason = %refusal, "refused before its login");
            }
        });
        let (mut stream, startup) = match said? {
            Hello::Nothing => return Ok(None),
            Hello::Cancel { stream, pid, key } => {
                cancel(&self.context, &self.guesses, pid, &key).await;
                close(stream).await;
                return Ok(None);
            }
            Hello::Session(stream, startup) => (stream, startup),
        };
        match self.log_in(&mut stream, &startup, visit.peer, &config).await {
            Ok(place) => arrive(stream, *startup, visit, place).map(Some).map_err(|broken| (None, broken)),
            Err(refusal) => {
                if !refusal.is_noise() {
                    let (user, database) = (startup.user(), startup.database());
                    tracing::info!(peer = %visit.peer, user, database, reason = %refusal, "login failed");
                }
                Err((Some(stream), refusal))
            }
        }
    }

    async fn log_in(
        &self,
        stream: &mut Stream,
        startup: &StartupParameters,
        peer: Peer,
        config: &Config,
    ) -> Result<Place, Refusal> {
        if config.listen.tls.mode >= TlsMode::Require && !stream.is_tls() && !stream.is_unix() {
            return Err(Refusal::TlsRequired);
        }
        check_replication(startup)?;
        let mut out = Vec::new();
        negotiate(startup, &mut out);
        let claim = Claim { user: startup.user(), database: startup.database(), peer };
        let keys = authenticate(stream, out, claim, config, &self.secrets).await?;
        take_place(&self.context, claim.user, claim.database, startup.spoken_minor(), keys)
    }
}

/// Puts everything about the client together, and takes its socket off this runtime.
fn arrive(
    stream: Stream,
    startup: StartupParameters,
    visit: Visit,
    place: Place,
) -> Result<Arrival, Refusal> {
    let tls = stream.tls().map(TlsStream::info);
    Ok(Arrival {
        stream: stream.detach()?,
        peer: visit.peer,
        tls,
        startup,
        user: place.user,
        database: place.database,
        role: visit.role,
        seat: place.seat,
        placement: place.placement,
    })
}
