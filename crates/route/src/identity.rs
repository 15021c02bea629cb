//! Which server answers at a node, and which history of the data it follows.

/// What a server says of itself. A position in the log means the same only under an equal identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// `pg_control_system().system_identifier`: the same for a primary and all that were copied from it.
    pub system: u64,
    /// The timeline that it writes, or as a standby the one that it receives: a promotion begins a new one.
    pub timeline: u32,
    /// `pg_postmaster_start_time()`, in microseconds since 1970: another one after each restart.
    pub started: i64,
}
