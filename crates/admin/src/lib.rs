//! The console, the metrics and the HTTP endpoints; reads snapshots and owns no counter.
