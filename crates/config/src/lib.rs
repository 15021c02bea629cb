//! YAML or pgbouncer.ini to one checked, immutable configuration.
//!
//! Text becomes a tree with positions (`yaml`, `tree`), the tree becomes raw shapes through serde (`reader`, `raw`,
//! `said`, `scalar`), raw shapes become the checked types (`check` and a file for each part). Everything that is
//! wrong is collected on the way, each with its file, line, column and key.

mod auth;
mod check;
mod choices;
mod clusters;
mod databases;
mod describe;
mod env;
mod error;
mod ini;
mod listen;
mod load;
mod lookup;
mod model;
mod patroni;
mod pool;
mod raw;
mod reader;
mod said;
mod scalar;
mod schema;
mod sharding;
mod show;
mod tree;
mod units;
mod url;
mod userlist;
mod users;
mod yaml;

pub use error::{Diagnostic, Errors};
pub use ini::import_ini;
pub use load::{from_url, load, parse_yaml};
pub use lookup::pinned_limit;
pub use model::*;
pub use patroni::PatroniAddress;
pub use schema::schema;
pub use show::{ShownSetting, needs_restart};
