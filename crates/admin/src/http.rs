//! HTTP: `/metrics`, `/healthz` and `/readyz`. Small and bounded: nothing that is asked for here may cost the relay.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use net::{BindError, ListenAddress, Listener, SocketOptions, Stream};
use session::Stop;
use tokio::sync::Semaphore;

use crate::admin::Admin;
use crate::metrics;
use crate::snapshot::{Detail, Snapshot};

/// Connections at a time; others wait in the kernel's queue.
const CONNECTIONS: usize = 64;
/// A request's line and headers, bytes.
const HEAD: usize = 16 << 10;
/// How long a client may take to send them.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may last. One request each: a scrape every few seconds needs no more.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// Listens, so that an address that can't be had is known before anything is served.
///
/// # Errors
/// The address is in use, or isn't ours.
pub fn bind(address: SocketAddr) -> Result<Listener, BindError> {
    Listener::tcp(address, SocketOptions::default())
}

/// Serves for as long as it is polled: also while pgweir stops, to say so. On the slow runtime.
pub async fn serve(mut listener: Listener, admin: Arc<Admin>) {
    if let ListenAddress::Tcp(address) = listener.address() {
        tracing::info!(%address, "metrics and health are served");
    }
    let routes = Router::new()
        .route("/metrics", get(scrape))
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .with_state(admin);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let (stream, peer) = listener.accept().await;
        let routes = routes.clone();
        tokio::spawn(async move {
            if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_TIMEOUT, connection(stream, routes)).await
            {
                tracing::debug!(%peer, %error, "an HTTP connection failed");
            }
            drop(place);
        });
    }
}

async fn connection(stream: Stream, routes: Router) -> hyper::Result<()> {
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes))
        .await
}

async fn scrape(State(admin): State<Arc<Admin>>) -> Response {
    match metrics::render(&admin.snapshot(Detail::Pools).await) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::MEDIA_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Alive: every core answers.
async fn alive(State(admin): State<Arc<Admin>>) -> (StatusCode, String) {
    let snapshot = Snapshot::take(&admin.context, Detail::Counters).await;
    let silent = snapshot.silent();
    if snapshot.cores.is_empty() {
        (StatusCode::SERVICE_UNAVAILABLE, "no core runs yet\n".to_owned())
    } else if silent.is_empty() {
        (StatusCode::OK, "alive\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("cores that do not answer: {silent:?}\n"))
    }
}

/// Ready: new clients are taken. Says nothing of the databases behind.
async fn ready(State(admin): State<Arc<Admin>>) -> (StatusCode, &'static str) {
    if *admin.context.stop.borrow() > Stop::No {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
    } else if admin.context.cores.get().is_none() {
        (StatusCode::SERVICE_UNAVAILABLE, "no core runs yet\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}
