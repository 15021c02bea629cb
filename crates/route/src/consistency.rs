//! What a read must have seen, and which node has: rounds of shared samples of the primary's position, by number.
//!
//! A write that is acknowledged needs the next round: a sample of the primary's position that begins after the
//! acknowledgement covers it ([`Written`] keeps that number, by table). A replica has covered a round once it has
//! replayed up to what the primary's position was in it ([`Rounds`]). So a read may have a node if the node has
//! covered the round that the read's tables need: two numbers are compared, and nothing is asked for a write.

mod rounds;
mod slots;
mod token;
mod written;

pub use rounds::{Position, Rounds, Sample};
pub use slots::Slots;
pub use token::{Token, TokenError};
pub use written::Written;
