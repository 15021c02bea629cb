//! Postgres clusters on this machine: initialise, start, replicate, promote, stop, remove.
//!
//! A [`Cluster`] is a primary and its streaming replicas, run from the installed binaries in a temporary
//! folder, on ports of its own. Dropping it stops the servers and removes the folder. Should this process be
//! killed, the kernel ends the servers (where `setpriv` exists) and the next cluster to start on the machine
//! removes what was left.
//!
//! ```no_run
//! use pgweir_localpg::{Cluster, Mode};
//!
//! let cluster = Cluster::builder().replicas(2).databases(["app"]).users([("app", "secret")]).start()?;
//! cluster.psql(0, "app", "create table t (n int)")?;
//! cluster.stop(0, Mode::Fast)?;
//! cluster.promote(1)?;
//! cluster.follow(2, 1)?;
//! # Ok::<(), pgweir_localpg::Error>(())
//! ```

mod account;
mod binaries;
mod builder;
mod cluster;
mod error;
mod launcher;
mod node;
mod ports;
mod processes;
mod program;
mod replication;
mod server;
mod server_config;
mod sql_text;
mod wal;
mod workdir;

pub use account::spawn_bound;
pub use binaries::Binaries;
pub use builder::Builder;
pub use cluster::Cluster;
pub use error::Error;
pub use node::Node;
pub use ports::free_port;
pub use server::Mode;
pub use server_config::Auth;
pub use sql_text::url_part;
pub use wal::Lsn;

/// The superuser of every cluster. Its password is the cluster's own: [`Cluster::superuser_password`].
pub const SUPERUSER: &str = "postgres";

/// What this crate's calls return.
pub type Result<T, E = Error> = std::result::Result<T, E>;
