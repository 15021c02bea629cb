//! Listeners, TCP, Unix and TLS streams, the per-core runtimes and socket options.

pub mod cores;
pub mod listen;
pub mod options;
pub mod stream;
pub mod tls;

pub use cores::{CoreGone, CoreHandle, CoreIndex, CoreOptions, Cores, slow_runtime};
pub use listen::{BindError, ListenAddress, Listener};
pub use options::{Keepalive, SocketOptions};
pub use stream::{Detached, Peer, Stream, TlsInfo, TlsStream};
pub use tls::{ClientCertificate, ClientTls, ServerTls, TlsError, Verify};
