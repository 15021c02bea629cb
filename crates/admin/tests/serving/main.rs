//! The console and the HTTP endpoints, served in this process.
#![allow(clippy::unwrap_used, reason = "a test's helper fails like the test")]

mod console;
mod http;
mod traffic;
mod world;
