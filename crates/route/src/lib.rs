//! Facts, session and a view of the cluster to a routing decision with its reason. Pure: no I/O, no clock of its own.
//!
//! Two steps: [`decide`] says which shard and which role (from the statement alone), [`choose`] says which node of
//! that shard (from the cluster view and the load).

mod balance;
mod catalog;
mod choose;
mod combine;
pub mod consistency;
mod decide;
mod decision;
mod explain;
mod identity;
mod latency;
mod map;
mod readers;
mod reason;
mod role;
mod shard;
#[cfg(test)]
mod sql_tests;
mod standing;
#[cfg(test)]
mod testing;
pub mod view;
mod why;

pub use balance::Turn;
pub use catalog::{
    CalledRow, Catalog, CatalogRows, FunctionRow, Objected, OperatorRow, RelationKind, RelationRow, TableRow,
};
pub use choose::{NoNode, choose};
pub use combine::combine;
pub use decide::{decide, describe};
pub use decision::{
    Decision, ParameterValue, Parameters, Refusal, Request, RoleSource, SessionRouting, ShardIndex, Target,
    TargetRole, UntilWrite,
};
pub use explain::{explain, reason_in_words};
pub use identity::Identity;
pub use latency::Latency;
pub use map::DatabaseMap;
pub use reason::{Opened, Reason, RoleReason, ShardReason};
pub use standing::Standing;
pub use why::Why;
