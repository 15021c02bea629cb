//! Listeners, TCP, Unix and TLS streams, the per-core runtimes and socket options.
