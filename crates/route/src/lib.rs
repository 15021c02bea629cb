//! Facts, session and a view of the cluster to a routing decision with its reason. Pure: no I/O, no clock of its own.
//!
//! Two steps: `decide` says which shard and which role (from the statement alone), `choose` says which node of that
//! shard (from the cluster view and the load).

pub mod view;
