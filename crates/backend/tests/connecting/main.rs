//! Logging in to servers: to real ones by every method and TLS mode, and to ones that misbehave.

#![allow(clippy::unwrap_used, reason = "a test may fail so")]

mod certificate;
mod misbehaving;
mod real;

use std::time::Duration;

use config::TlsMode;
use net::{ClientTls, SocketOptions, Verify};
use pgweir_backend::connect::{Login, ServerTarget};

fn target(host: &str, port: u16, mode: TlsMode) -> ServerTarget {
    let tls = (mode != TlsMode::Disable).then(|| ClientTls::new(Verify::Nothing, None).unwrap());
    let options = SocketOptions::default();
    ServerTarget { host: host.to_owned(), port, mode, tls, options, require_scram: false }
}

fn login(password: Option<&str>) -> Login {
    Login::new("app", "app", password, Duration::from_secs(30))
}
