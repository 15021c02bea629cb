//! What the end-to-end tests share.

mod cases;
mod eventually;
pub mod program;
pub mod replicated;
pub mod talk;
pub mod world;

pub use cases::{Cases, Outcome, ensure};
pub use eventually::eventually;
