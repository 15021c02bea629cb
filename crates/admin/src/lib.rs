//! The console, the metrics and the HTTP endpoints; reads snapshots and owns no counter.
//!
//! [`snapshot`] asks the cores; `show` makes rows of a snapshot, `metrics` makes families of one. `console` and
//! [`http`] are the two ways to see them.

mod admin;
mod averages;
mod clock;
mod console;
mod metrics;
mod show;
mod value;

pub mod http;
pub mod snapshot;

pub use admin::{Admin, Hooks, Reload, Shutdown};
pub use averages::{ByDatabase, Sample};
