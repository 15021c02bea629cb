//! A pgweir in this process: real cores, a real door and the console, and servers that nobody needs to reach.

use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};
use backend::{CorePools, Directory, Remote, Statements};
use net::{CoreHandle, CoreOptions, Cores, ListenAddress, Listener, SocketOptions};
use pgweir_admin::{Admin, Hooks, http};
use session::door::Door;
use session::{Context, Core, Seats, Stop};
use testkit::Client;
use tokio::sync::watch;

const CONFIG: &str = "
listen: {unix_dir: null, http: null}
admin: {users: [ops], stats_users: [monitor]}
auth: {method: trust}
users: {ops: {password: ops}, monitor: {password: monitor}, app: {password: app}}
pool: {size: 1}
clusters: {us: {nodes: {us-1: {host: 127.0.0.1, port: PORT, role: primary}}}}
databases: {app: {cluster: us}}
";

/// The configuration, with the node at this port.
pub(crate) fn config(port: u16) -> Arc<config::Config> {
    let text = CONFIG.replace("PORT", &port.to_string());
    Arc::new(config::parse_yaml(&text, "test.yaml", &|_| None, Path::new("")).unwrap())
}

/// What runs, for as long as it is held.
pub(crate) struct World {
    /// Where clients connect.
    pub(crate) address: SocketAddr,
    /// Where `/metrics` is.
    pub(crate) http: SocketAddr,
    /// What all share.
    pub(crate) context: Arc<Context>,
    /// How often RELOAD and SHUTDOWN were run.
    pub(crate) reloads: Arc<AtomicUsize>,
    pub(crate) shutdowns: Arc<AtomicUsize>,
    cores: Option<Cores<Core>>,
}

impl World {
    /// Two cores in front of nothing, and a configuration whose reload says one note.
    pub(crate) async fn start() -> World {
        World::before(1).await
    }

    /// The same in front of a server at this port, with a pool of one connection.
    pub(crate) async fn before(port: u16) -> World {
        let handles: Arc<OnceLock<Arc<[CoreHandle<Core>]>>> = Arc::default();
        let reach = Arc::clone(&handles);
        let remote = Remote::new(move |core, task| {
            if let Some(handle) = reach.get().and_then(|all| all.get(core)) {
                let _ = handle.run(move |core: &Rc<Core>| task(&core.pools));
            }
        });
        let directory = Directory::new(config(port), 2, remote.clone()).unwrap();
        let context = Arc::new(Context {
            directory: ArcSwap::from_pointee(directory),
            tls: ArcSwapOption::empty(),
            cores: OnceLock::new(),
            console: OnceLock::new(),
            seats: Arc::new(Seats::default()),
            stop: watch::Sender::new(Stop::No),
            started: Instant::now(),
            allocated: || 0,
            code: std::sync::atomic::AtomicU64::default(),
        });
        let statements = Arc::new(Statements::default());
        let shared = Arc::clone(&context);
        let cores = Cores::start_with(2, CoreOptions::default(), move |index, _| {
            let pools = Rc::new(CorePools::new(index.0, remote.clone(), Arc::clone(&statements)));
            Core::new(pools, Arc::clone(&shared))
        });
        let cores = cores.unwrap();
        assert!(handles.set(Arc::clone(cores.handles())).is_ok());
        assert!(context.cores.set(Arc::clone(cores.handles())).is_ok());
        for core in cores.handles().iter() {
            let clock = core.run(|core| drop(tokio::task::spawn_local(Rc::clone(core).keep_time())));
            clock.unwrap();
        }

        let (reloads, shutdowns) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let admin = Admin::new(Arc::clone(&context), hooks(&reloads, &shutdowns));
        assert!(context.console.set(admin.console()).is_ok());
        let metrics = http::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let scraped = tcp(&metrics);
        tokio::spawn(http::serve(metrics, admin));
        let listener = Listener::tcp("127.0.0.1:0".parse().unwrap(), SocketOptions::default()).unwrap();
        let address = tcp(&listener);
        tokio::spawn(Door::new(Arc::clone(&context)).listen(listener, None));
        World { address, http: scraped, context, reloads, shutdowns, cores: Some(cores) }
    }

    /// A client of the console.
    pub(crate) async fn console(&self, user: &str) -> Client {
        Client::to(self.address).user(user, user).database("pgbouncer").connect().await.unwrap()
    }
}

/// The first reload says a note, the others fail.
fn hooks(reloads: &Arc<AtomicUsize>, shutdowns: &Arc<AtomicUsize>) -> Hooks {
    let (reloads, shutdowns) = (Arc::clone(reloads), Arc::clone(shutdowns));
    Hooks {
        reload: Arc::new(move || match reloads.fetch_add(1, Ordering::SeqCst) {
            0 => Ok(vec!["one thing is unwise".to_owned()]),
            _ => Err("line 3: nonsense".to_owned()),
        }),
        shutdown: Arc::new(move || {
            shutdowns.fetch_add(1, Ordering::SeqCst);
        }),
    }
}

fn tcp(listener: &Listener) -> SocketAddr {
    match listener.address() {
        ListenAddress::Tcp(address) => address,
        ListenAddress::Unix(path) => panic!("{}", path.display()),
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let cores = self.cores.take();
        // Waits for threads, which no runtime allows on its own ones.
        std::thread::spawn(move || cores.map(Cores::shutdown)).join().unwrap();
    }
}
