//! Server connections, pools and lending, health and roles, cancel; publishes the cluster view.

pub mod budget;
pub mod cancel;
mod catalogs;
pub mod cluster;
pub mod connect;
pub mod control;
pub mod core;
pub mod directory;
pub mod fate;
pub mod lease;
mod link;
pub mod listen;
pub mod local;
mod looks;
pub mod positions;
pub mod seen;
pub mod sequences;
pub mod server;
pub mod settings;
pub mod shared;
pub mod statement;
pub mod stats;
pub mod traffic;

pub use catalogs::DatabaseCatalog;
pub use cluster::{Cluster, Node};
pub use core::{CorePools, LocalGroup, Remote};
pub use directory::Directory;
pub use lease::Lease;
pub use local::{LocalPool, Queued, Waiter};
pub use positions::Positions;
pub use server::{Idle, Server};
pub use settings::{Parameters, Setting, Settings};
pub use shared::{Group, Placement, SharedPool};
pub use statement::{PrepareText, Statement, Statements};
pub use stats::{PoolName, PoolStats, StatsSum};
