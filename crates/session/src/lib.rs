//! One client's life, from accept to close.

mod catalogs;
pub mod cell;
pub mod context;
pub mod core;
pub mod door;

mod admit;
mod again;
mod book;
mod expect;
mod full;
mod gate;
mod incoming;
mod learned;
mod leave;
mod ledger;
mod listen;
mod loss;
mod named_text;
mod names;
mod own;
mod park;
mod pins;
mod pipe;
mod plan;
mod prepared;
mod reclaim;
mod relay;
mod reply;
mod request;
mod sequences;
mod session;
mod set_config;
mod shown;
mod spill;
mod sql_prepare;
mod until_write;
mod wait;
mod watch;
mod welcome;
mod witness;
mod work;

pub use context::{Arrival, Console, Context, Seats, Stop};
pub use core::Core;
pub use pins::Pins;
pub use welcome::stop;
