//! For tests: real Postgres clusters, a frame-level client, a fault proxy, certificates.
