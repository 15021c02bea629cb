//! The Postgres wire protocol: bytes to frames to messages, without I/O.
