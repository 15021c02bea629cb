//! The Postgres wire protocol: bytes to frames to messages, without I/O.
//!
//! [`frame`] finds where a message begins and ends, which is all that the relay path needs. [`startup`],
//! [`frontend`] and [`backend`] look into those messages that pgweir must understand, as views that
//! borrow from the bytes. [`encode`] appends messages to a buffer. [`scram`] and [`md5`] are both sides of
//! the authentication methods. [`error`] and [`sqlstate`] are what a client is told when something fails.
//!
//! Nothing here reads a clock, a socket or a file, and nothing allocates by a length that a peer announced.

pub mod backend;
pub mod encode;
pub mod error;
pub mod frame;
pub mod frontend;
pub mod md5;
pub mod scram;
pub mod sqlstate;
pub mod startup;
pub mod tag;

#[cfg(test)]
mod prng;

pub use error::{ErrorReport, Severity};
pub use frame::{FrameError, Head, MessageError, Reader};
pub use sqlstate::SqlState;
