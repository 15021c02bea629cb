//! `limits`, `pool`, `route`, `health` and `failover`, checked; and how overrides lie on their defaults.

use std::time::Duration;

use crate::check::Context;
use crate::model::{
    Balance, Config, Consistency, Health, Limits, MaxLag, OnLoss, PoolMode, PoolOverrides, PoolSettings,
    ReadsOnPrimary, RoleSetting, RouteOverrides, RouteSettings, Share, Transactions,
};
use crate::raw;
use crate::said::Said;
use crate::scalar::{Span, Wait};

const MINUTE: Duration = Duration::from_secs(60);

fn span(said: &Said<Span>, default: Duration) -> Duration {
    said.get().map_or(default, |span| span.0)
}

fn wait(said: &Said<Wait>, default: Duration) -> Duration {
    said.get().map_or(default, |wait| wait.0)
}

/// `Some(None)` where the setting is said to be null.
fn nullable(said: &Said<Option<Span>>) -> Option<Option<Duration>> {
    said.get().map(|span| span.map(|span| span.0))
}

pub(crate) fn limits(raw: &raw::Limits, context: &Context<'_>) -> Limits {
    let limits = Limits {
        max_client_conn: raw.max_client_conn.get().map_or(10_000, |count| count.0),
        max_client_conn_per_user: raw
            .max_client_conn_per_user
            .get()
            .and_then(|count| count.map(|count| count.0)),
        unauthenticated_connections: raw.unauthenticated_connections.get().map_or(1_000, |count| count.0),
        client_login_timeout: span(&raw.client_login_timeout, Duration::from_secs(15)),
        client_idle_timeout: nullable(&raw.client_idle_timeout).flatten(),
        max_message: raw.max_message.get().map_or(1 << 30, |size| size.0),
    };
    if let (Some(place), Some(of_user)) =
        (raw.max_client_conn_per_user.place(), limits.max_client_conn_per_user)
        && of_user > limits.max_client_conn
    {
        context.sink.warn(place, "is more than max_client_conn, so it bounds nothing");
    }
    limits
}

/// The defaults of the contract.
pub(crate) fn default_pool() -> PoolSettings {
    PoolSettings {
        mode: PoolMode::Transaction,
        size: None,
        min_pool_size: 0,
        reserve_pool_size: 0,
        reserve_pool_timeout: Duration::from_secs(3),
        pinned: Share::Percent(25),
        query_wait_timeout: Some(Duration::from_secs(30)),
        server_connect_timeout: Duration::from_secs(5),
        server_login_retry: Duration::from_secs(1),
        server_idle_timeout: Some(10 * MINUTE),
        server_lifetime: Some(60 * MINUTE),
        query_timeout: None,
        transaction_timeout: None,
        idle_transaction_timeout: None,
        max_prepared_statements: 500,
        server_round_robin: false,
        listen_on_loss: OnLoss::Close,
    }
}

pub(crate) fn pool_defaults(raw: &raw::Pool, context: &Context<'_>) -> PoolSettings {
    default_pool().with(&pool_overrides(raw, context))
}

pub(crate) fn pool_overrides(raw: &raw::Pool, context: &Context<'_>) -> PoolOverrides {
    let size = raw.size.get().map(|size| size.0);
    if let (Some((place, least)), Some(Some(size))) = (raw.min_pool_size.with_place(), size)
        && least.0 > size
    {
        context
            .sink
            .error(place, format!("{} is more than the pool's size; expected at most {size}", least.0));
    }
    if let (Some((place, pinned)), Some(Some(size))) = (raw.pinned.with_place(), size)
        && let Share::Count(count) = pinned.0
        && count > size
    {
        context.sink.error(place, format!("{count} is more than the pool's size; expected at most {size}"));
    }
    PoolOverrides {
        mode: raw.mode.get().map(|mode| mode.0),
        size,
        min_pool_size: raw.min_pool_size.get().map(|number| number.0),
        reserve_pool_size: raw.reserve_pool_size.get().map(|number| number.0),
        reserve_pool_timeout: raw.reserve_pool_timeout.get().map(|wait| wait.0),
        pinned: raw.pinned.get().map(|share| share.0),
        query_wait_timeout: nullable(&raw.query_wait_timeout),
        server_connect_timeout: raw.server_connect_timeout.get().map(|span| span.0),
        server_login_retry: raw.server_login_retry.get().map(|wait| wait.0),
        server_idle_timeout: nullable(&raw.server_idle_timeout),
        server_lifetime: nullable(&raw.server_lifetime),
        query_timeout: nullable(&raw.query_timeout),
        transaction_timeout: nullable(&raw.transaction_timeout),
        idle_transaction_timeout: nullable(&raw.idle_transaction_timeout),
        max_prepared_statements: raw.max_prepared_statements.get().map(|number| number.0),
        server_round_robin: raw.server_round_robin.get().map(|flag| flag.0),
        listen_on_loss: raw.listen_on_loss.get().map(|choice| choice.0),
    }
}

impl PoolSettings {
    /// These settings, but for what `overrides` says.
    #[must_use]
    pub fn with(self, overrides: &PoolOverrides) -> PoolSettings {
        let o = overrides;
        PoolSettings {
            mode: o.mode.unwrap_or(self.mode),
            size: o.size.unwrap_or(self.size),
            min_pool_size: o.min_pool_size.unwrap_or(self.min_pool_size),
            reserve_pool_size: o.reserve_pool_size.unwrap_or(self.reserve_pool_size),
            reserve_pool_timeout: o.reserve_pool_timeout.unwrap_or(self.reserve_pool_timeout),
            pinned: o.pinned.unwrap_or(self.pinned),
            query_wait_timeout: o.query_wait_timeout.unwrap_or(self.query_wait_timeout),
            server_connect_timeout: o.server_connect_timeout.unwrap_or(self.server_connect_timeout),
            server_login_retry: o.server_login_retry.unwrap_or(self.server_login_retry),
            server_idle_timeout: o.server_idle_timeout.unwrap_or(self.server_idle_timeout),
            server_lifetime: o.server_lifetime.unwrap_or(self.server_lifetime),
            query_timeout: o.query_timeout.unwrap_or(self.query_timeout),
            transaction_timeout: o.transaction_timeout.unwrap_or(self.transaction_timeout),
            idle_transaction_timeout: o.idle_transaction_timeout.unwrap_or(self.idle_transaction_timeout),
            max_prepared_statements: o.max_prepared_statements.unwrap_or(self.max_prepared_statements),
            server_round_robin: o.server_round_robin.unwrap_or(self.server_round_robin),
            listen_on_loss: o.listen_on_loss.unwrap_or(self.listen_on_loss),
        }
    }
}

/// The defaults of the contract.
pub(crate) fn default_route() -> RouteSettings {
    RouteSettings {
        role: RoleSetting::Auto,
        transactions: Transactions::Primary,
        consistency: Consistency::Database,
        replica_wait: Duration::from_millis(5),
        balance: Balance::LeastConnections,
        max_lag: Some(MaxLag::Time(Duration::from_secs(10))),
        reads_on_primary: ReadsOnPrimary::IfNoReplica,
    }
}

pub(crate) fn route_defaults(raw: &raw::Route) -> RouteSettings {
    default_route().with(&route_overrides(raw))
}

pub(crate) fn route_overrides(raw: &raw::Route) -> RouteOverrides {
    RouteOverrides {
        role: raw.role.get().map(|role| role.0),
        transactions: raw.transactions.get().map(|transactions| transactions.0),
        consistency: raw.consistency.get().map(|consistency| consistency.0),
        replica_wait: raw.replica_wait.get().map(|wait| wait.0),
        balance: raw.balance.get().map(|balance| balance.0),
        max_lag: raw.max_lag.get().map(|limit| limit.map(|limit| limit.0)),
        reads_on_primary: raw.reads_on_primary.get().map(|reads| reads.0),
    }
}

impl RouteSettings {
    /// These settings, but for what `overrides` says.
    #[must_use]
    pub fn with(self, overrides: &RouteOverrides) -> RouteSettings {
        RouteSettings {
            role: overrides.role.unwrap_or(self.role),
            transactions: overrides.transactions.unwrap_or(self.transactions),
            consistency: overrides.consistency.unwrap_or(self.consistency),
            replica_wait: overrides.replica_wait.unwrap_or(self.replica_wait),
            balance: overrides.balance.unwrap_or(self.balance),
            max_lag: overrides.max_lag.unwrap_or(self.max_lag),
            reads_on_primary: overrides.reads_on_primary.unwrap_or(self.reads_on_primary),
        }
    }
}

pub(crate) fn health(raw: &raw::Health) -> Health {
    Health {
        interval: span(&raw.interval, Duration::from_secs(5)),
        timeout: span(&raw.timeout, Duration::from_secs(2)),
        failures: raw.failures.get().and_then(|count| u32::try_from(count.0).ok()).unwrap_or(3),
        slow_start: wait(&raw.slow_start, Duration::from_secs(30)),
        assumed_lag: span(&raw.assumed_lag, Duration::from_secs(10)),
    }
}

pub(crate) fn failover_wait(raw: &raw::Failover) -> Duration {
    wait(&raw.wait, MINUTE)
}

pub(crate) fn resolve_commits(raw: &raw::Failover) -> bool {
    raw.resolve_commits.get().is_some_and(|said| said.0)
}

/// A lost primary must be known to be lost before those who wait for a new one give up.
pub(crate) fn check_detection(raw: &raw::File, config: &Config, context: &Context<'_>) {
    let detection = config.health.slowest_detection();
    let place = raw.failover.get().and_then(|failover| failover.wait.place()).or(raw.health.place());
    if let Some(place) = place
        && detection >= config.failover_wait
    {
        let message = format!(
            "a lost primary is noticed after up to {}, and transactions wait for a new one only {}",
            crate::units::write_duration(detection),
            crate::units::write_duration(config.failover_wait),
        );
        context.sink.warn(place, message);
    }
}
