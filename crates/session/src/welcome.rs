//! The beginning of a session on its core: its settings, what a server reports under them, and the first
//! ReadyForQuery.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use backend::{LocalGroup, Parameters, Setting, Settings};
use config::{PoolMode, RoleSetting};
use net::Stream;
use route::{RoleSource, SessionRouting, Target, TargetRole};
use tokio::io::AsyncWriteExt;
use wire::backend::TransactionStatus;
use wire::{ErrorReport, SqlState, encode};

use crate::book::{self, Book};
use crate::cell::{ClientCell, Doing};
use crate::context::{Arrival, Context, Stop};
use crate::core::Core;
use crate::gate::Gate;
use crate::prepared::Reading;
use crate::reclaim::Unheard;
use crate::session::{End, Session};

/// Begins a session. `None`: the client was sent away, or is gone.
pub(crate) async fn begin(core: Rc<Core>, arrival: Arrival) -> Option<Session> {
    let Arrival { stream, peer, tls, startup, user, database, role, seat, placement } = arrival;
    let mut client = stream.attach().ok()?;
    let placement = placement?;
    let group = core.pools.group(placement.group());
    let application = startup.get("application_name").unwrap_or_default();
    let cell = Rc::new(ClientCell::new(seat.pid, user, database, peer, tls, application));
    cell.set_limits(&group.shared.pool);
    let book = match open_book(&core, &group, &startup, role, seat.pid) {
        Ok(book) => book,
        Err(mut report) => {
            report.severity = wire::Severity::Fatal;
            send_away(&mut client, &report).await;
            return None;
        }
    };
    let directory = core.context.directory.load();
    let (max_message, resolves) =
        (directory.config.limits.max_message as usize, directory.config.resolve_commits);
    drop(directory);
    core.enter(&cell);
    let held = None;
    let mut session =
        Session { core, cell, client, group, book, held, max_message, resolves, seat, placement };
    match session.greet(startup.spoken_minor()).await {
        Ok(()) => Some(session),
        Err(end) => {
            if let End::Fatal(report) = end {
                tracing::info!(user = %session.cell.user, database = %session.cell.database, %report, "client refused");
                send_away(&mut session.client, &report).await;
            }
            session.core.leave(session.cell.pid);
            None
        }
    }
}

async fn send_away(client: &mut Stream, report: &ErrorReport) {
    let mut bytes = Vec::new();
    encode::error_response(&mut bytes, report);
    let goodbye = async {
        client.write_all(&bytes).await?;
        client.flush().await?;
        client.shutdown().await
    };
    // A client that doesn't read keeps nobody.
    let _ = tokio::time::timeout(std::time::Duration::from_secs(1), goodbye).await;
}

/// What the startup packet says of settings and routing.
fn open_book(
    core: &Core,
    group: &LocalGroup,
    startup: &wire::startup::StartupParameters,
    listener: Option<RoleSetting>,
    pid: u32,
) -> Result<Book, ErrorReport> {
    let shared = &group.shared;
    let directory = core.context.directory.load();
    let by_user = directory.config.users.get(&*shared.user).and_then(|user| user.route.role);
    let (role, role_from) = match (listener, by_user) {
        (Some(role), _) => (role, RoleSource::Listener),
        (None, Some(role)) => (role, RoleSource::User),
        (None, None) => (shared.route.role, RoleSource::Database),
    };
    let user = directory.config.users.get(&*shared.user);
    let transactions = user.and_then(|user| user.route.transactions).unwrap_or(shared.route.transactions);
    let by_user = user.and_then(|user| user.route.consistency);
    let consistency = shared.route.consistency;
    let consistency_from = if by_user.is_some() { RoleSource::User } else { RoleSource::Database };
    let mut routing = SessionRouting {
        role,
        role_from,
        transactions,
        consistency,
        consistency_from,
        ..SessionRouting::default()
    };
    let mut pairs = Vec::new();
    for (name, value) in startup.settings() {
        let name = name.to_ascii_lowercase();
        match name.as_str() {
            "user" | "database" | "replication" | "options" => {}
            "pgweir.role" => {
                routing.role = crate::own::role_of(value)?;
                routing.role_from = RoleSource::Options;
            }
            "pgweir.transactions" => routing.transactions = crate::own::transactions_of(value)?,
            "pgweir.consistency" => {
                routing.consistency = crate::own::consistency_of(value)?;
                routing.consistency_from = RoleSource::Options;
            }
            "pgweir.shard" => {
                let shard = shared.map.shard_named(value);
                routing.shard = Some(shard.ok_or_else(|| crate::own::no_such_shard(&shared.map, value))?);
            }
            _ => pairs.push((name, value.to_owned())),
        }
    }
    if shared.pool.mode == PoolMode::Session && routing.role == RoleSetting::Auto {
        // A session that keeps its connection for life keeps it where it can write.
        routing.role = RoleSetting::Primary;
    }
    let said = pairs.iter().map(|(name, value)| Setting::from_startup(name, value));
    let settings = said.fold(Settings::default(), |all, setting| all.with(setting));
    let wanted = core.pools.intern_settings(settings);
    let told = core.pools.intern_parameters(Parameters::default());
    Ok(Book {
        reading: Reading::new(core, &wanted, &told),
        proven: Rc::clone(&group.proven),
        mode: shared.pool.mode,
        routing,
        routing_before: None,
        routing_at_startup: routing,
        startup: Rc::clone(&wanted),
        wanted,
        open_entries: None,
        welcome: Rc::clone(&told),
        told: Rc::clone(&told),
        names: Default::default(),
        written: Default::default(),
        native: false,
        shown: None,
        runs_names: false,
        unnamed: None,
        reads: Default::default(),
        hinted: None,
        sight: None,
        diversion: None,
        wrote: Default::default(),
        last_seen: Vec::new(),
        floors: Vec::new(),
        tokens: Vec::new(),
        asks_position: false,
        position: None,
        begun: None,
        until_write: None,
        seen: Default::default(),
        defaults_of: (core.pools.intern_settings(Settings::default()), told),
        sent_begin: None,
        gate: Gate::Open,
        pin: None,
        for_good: None,
        watch: None,
        wrote_at: None,
        calls: 0,
        asks_currval: false,
        pinned_to: None,
        catalogs: Default::default(),
        lex: book::lex_settings(&Parameters::default()),
        learning: false,
        ran: Default::default(),
        last: None,
        database: core.routes.database(&shared.database),
        listening: None,
        pid,
    })
}

impl Session {
    /// Tells the client all that a server tells after authentication.
    async fn greet(&mut self, minor: u16) -> Result<(), End> {
        let welcome = self.welcome().await?;
        self.book.told = Rc::clone(&welcome);
        self.book.welcome = welcome;
        self.book.lex = book::lex_settings(&self.book.told);
        let mut bytes = Vec::with_capacity(512);
        encode::authentication_ok(&mut bytes);
        for (name, value) in self.book.told.iter() {
            encode::parameter_status(&mut bytes, name, value).map_err(ErrorReport::from)?;
        }
        // What it is told of the node is the primary's.
        encode::parameter_status(&mut bytes, "in_hot_standby", "off").map_err(ErrorReport::from)?;
        encode::backend_key_data(&mut bytes, self.seat.pid, &self.seat.key).map_err(ErrorReport::from)?;
        encode::ready_for_query(&mut bytes, TransactionStatus::Idle);
        tracing::debug!(user = %self.cell.user, database = %self.cell.database, pid = self.cell.pid, minor, "client welcome");
        self.client.write_all(&bytes).await.map_err(|_| End::Gone)?;
        self.client.flush().await.map_err(|_| End::Gone)?;
        if *self.core.context.stop.borrow() > Stop::No {
            return Err(ErrorReport::fatal(SqlState::ADMIN_SHUTDOWN, "pgweir is shutting down").into());
        }
        Ok(())
    }

    /// What a server reports under the settings of this session: known from an earlier login with the same ones, or
    /// asked of a server now. A setting that no server takes is refused here, as Postgres refuses it at login.
    async fn welcome(&mut self) -> Result<Rc<Parameters>, End> {
        // application_name is reported as it was said: for a new one nobody needs to be asked.
        let name = self.book.wanted.get("application_name").filter(|name| is_plain_name(name));
        let key = name.map(|_| self.core.pools.intern_settings(without_application(&self.book.wanted)));
        let key = key.unwrap_or_else(|| Rc::clone(&self.book.wanted));
        if let Some(known) = self.group.welcomes.borrow().get(&key) {
            let named = name.map(|name| known.with("application_name", name));
            return Ok(match named {
                Some(named) => self.core.pools.intern_parameters(named),
                None => Rc::clone(known),
            });
        }
        let role = match self.book.routing.role {
            RoleSetting::Replica => TargetRole::Replica,
            RoleSetting::Auto | RoleSetting::Primary | RoleSetting::Observe => TargetRole::Primary,
        };
        let mut work = self.core.lend_work();
        let target =
            Target { shard: self.book.routing.shard.unwrap_or(self.group.shared.map.nearest()), role };
        self.cell.set_doing(Doing::Active, Instant::now());
        let leased = self.lease(&mut work, target, Instant::now()).await;
        let mut lease = leased?.map_err(|report| End::from(report.with_severity(wire::Severity::Fatal)))?;
        if let Err(report) = self.settle_now(&mut work, &mut lease, false).await {
            self.core.reclaim(lease, Unheard::default());
            return Err(report.with_severity(wire::Severity::Fatal).into());
        }
        self.core.return_work(work);
        let parameters = Rc::clone(&lease.parameters);
        if !lease.release() {
            tracing::warn!("a connection that was only asked for its parameters wasn't clean");
        }
        let mut welcomes = self.group.welcomes.borrow_mut();
        if welcomes.len() >= 256 {
            welcomes.clear();
        }
        welcomes.insert(key, Rc::clone(&parameters));
        Ok(parameters)
    }
}

/// Whether a server reports this application_name as it is: Postgres cuts it at 63 bytes and replaces what isn't
/// printable ASCII.
fn is_plain_name(name: &str) -> bool {
    name.len() < 64 && name.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

/// The same settings under an application_name that stands for all.
fn without_application(settings: &Settings) -> Settings {
    settings.with(Setting::plain("application_name", ""))
}

/// Stops everything that is served: idle clients go, transactions end first. A second call, with `Stop::Now`, doesn't
/// wait for them.
pub fn stop(context: &Arc<Context>, how: Stop) {
    let signal = match how {
        Stop::No => return,
        Stop::Graceful => crate::cell::Signal::Stop,
        Stop::Now => crate::cell::Signal::Kill(crate::cell::Kill::Shutdown),
    };
    context.stop.send_replace(how);
    for core in context.cores.get().into_iter().flat_map(|cores| cores.iter()) {
        let told = core.run(move |core| core.clients().iter().for_each(|cell| cell.signal(signal)));
        if told.is_err() {
            tracing::warn!(core = core.index().0, "a core is gone");
        }
    }
}
