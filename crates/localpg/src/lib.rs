//! Postgres clusters on this machine: initialise, start, replicate, promote, stop, remove.
