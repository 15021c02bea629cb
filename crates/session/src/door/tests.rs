//! The way in, spoken with over real sockets by a client that is written here byte by byte.

mod client;
mod hellos;
mod logins;
