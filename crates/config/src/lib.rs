//! YAML or pgbouncer.ini to one checked, immutable configuration.

mod model;
pub use model::*;
