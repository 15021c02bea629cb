//! For tests: real Postgres clusters, a frame-level client, a fault proxy, certificates, pgweir as a process.
//!
//! The client knows the protocol only as far as a test needs it and shares no message code with pgweir, so
//! that a mistake there isn't made twice. (SCRAM and MD5 are `wire`'s: they are tested there by vectors.)

mod address;
mod certificates;
mod client;
mod error;
mod fault_proxy;
mod faults;
mod frame;
pub mod history;
mod login;
mod pgweir;
mod script;
mod setup;
mod stream;
mod yaml;

pub use localpg::{Auth, Binaries, Builder, Cluster, Lsn, Mode, Node, SUPERUSER, free_port, spawn_bound};

pub use address::Address;
pub use certificates::Certificates;
pub use client::{Client, ConnectOptions};
pub use error::{Error, Result};
pub use fault_proxy::FaultProxy;
pub use faults::{Cut, Direction, Trigger};
pub use frame::{Frame, ServerError, first_error, normalize, rows, tags};
pub use pgweir::Pgweir;
pub use script::Script;
pub use setup::{ADMIN, ADMIN_PASSWORD, Setup};
pub use stream::Tls;

/// For `Pgweir::signal`.
pub use rustix::process::Signal;

use std::time::Duration;

/// How long a test waits for anything unless it says otherwise.
pub const DEADLINE: Duration = Duration::from_secs(30);
