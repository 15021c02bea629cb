//! Serving: wires the rooms together and runs until shutdown.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use admin::{Admin, Hooks};
use anyhow::{Context as _, anyhow};
use arc_swap::{ArcSwap, ArcSwapOption};
use backend::control::{self, Watch};
use backend::{CorePools, Directory, Remote, Statements};
use config::{Config, TlsMode};
use net::{ClientCertificate, CoreHandle, Cores, Keepalive, Listener, ServerTls, SocketOptions};
use session::door::Door;
use session::{Context, Core, Seats, Stop};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

/// How long clients that must go at once have to be told so.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long the first look at the servers may keep clients waiting.
const FIRST_LOOK: Duration = Duration::from_secs(3);

/// What somebody asks of a pgweir that serves.
enum Wish {
    Reload(Option<std::sync::mpsc::Sender<Result<Vec<String>, String>>>),
    Shutdown,
}

/// Serves until SIGTERM or SIGINT, or until the console says so. `config_path` is what a reload reads again.
pub(crate) fn run(config: Config, config_path: Option<PathBuf>) -> anyhow::Result<()> {
    raise_file_limit();
    let slow = net::slow_runtime().context("starting the runtime")?;
    slow.block_on(serve(config, config_path))
}

async fn serve(config: Config, config_path: Option<PathBuf>) -> anyhow::Result<()> {
    let config = Arc::new(config);
    let handles: Arc<OnceLock<Arc<[CoreHandle<Core>]>>> = Arc::default();
    let directory = Directory::new(Arc::clone(&config), config.instance.workers, remote_of(&handles))?;
    let context = Arc::new(Context {
        directory: ArcSwap::from_pointee(directory),
        tls: ArcSwapOption::new(load_tls(&config)?.map(Arc::new)),
        cores: OnceLock::new(),
        console: OnceLock::new(),
        seats: Arc::new(Seats::default()),
        stop: watch::Sender::new(Stop::No),
        started: Instant::now(),
        allocated,
        code: std::sync::atomic::AtomicU64::default(),
    });
    let listeners = bind(&config)?;
    let cores = start_cores(&config, &context)?;
    let _ = handles.set(Arc::clone(cores.handles()));
    let _ = context.cores.set(Arc::clone(cores.handles()));

    let (wishes, mut inbox) = mpsc::unbounded_channel();
    let admin = Admin::new(Arc::clone(&context), hooks(&wishes));
    let _ = context.console.set(admin.console());
    if let Some(address) = config.listen.http {
        let listener = admin::http::bind(address)?;
        tracing::info!(%address, "metrics and health");
        tokio::spawn(admin::http::serve(listener, Arc::clone(&admin)));
    }
    let mut watch = control::watch(context.directory.load_full());
    watch.first_round(FIRST_LOOK).await;

    let door = Door::new(Arc::clone(&context));
    for (listener, role) in listeners {
        tracing::info!(address = %listener.address(), "listening");
        tokio::spawn(Arc::clone(&door).listen(listener, role));
    }
    tracing::info!(workers = config.instance.workers, "pgweir {} is ready", env!("CARGO_PKG_VERSION"));
    listen_for_signals(&wishes)?;
    while let Some(wish) = inbox.recv().await {
        match wish {
            Wish::Reload(reply) => {
                let outcome = reload(&context, config_path.as_deref(), &mut watch);
                match &outcome {
                    Ok(notes) => tracing::info!(?notes, "configuration reloaded"),
                    Err(why) => {
                        tracing::error!("the configuration was not reloaded, nothing has changed: {why}")
                    }
                }
                if let Some(reply) = reply {
                    let _ = reply.send(outcome);
                }
            }
            Wish::Shutdown => break,
        }
    }
    shut_down(&context, &mut inbox).await;
    tokio::task::spawn_blocking(move || cores.shutdown()).await.context("stopping the cores")
}

/// Reaches a core's pools; until the cores run nobody has anything to say to them.
fn remote_of(handles: &Arc<OnceLock<Arc<[CoreHandle<Core>]>>>) -> Remote {
    let handles = Arc::clone(handles);
    Remote::new(move |core, task| {
        if let Some(handles) = handles.get() {
            deliver(handles, core, task);
        }
    })
}

/// Has a task run on a core's pools. A core that is gone has no pools that could be told.
fn deliver(handles: &[CoreHandle<Core>], core: usize, task: backend::core::Task) {
    if let Some(handle) = handles.get(core) {
        let _ = handle.run(move |core: &std::rc::Rc<Core>| task(&core.pools));
    }
}

fn start_cores(config: &Config, context: &Arc<Context>) -> anyhow::Result<Cores<Core>> {
    let statements = Arc::new(Statements::default());
    let shared = Arc::clone(context);
    let cores =
        Cores::start_with(config.instance.workers, net::CoreOptions::default(), move |index, handles| {
            let reach = Arc::clone(handles);
            let remote = Remote::new(move |core, task| deliver(&reach, core, task));
            let pools = std::rc::Rc::new(CorePools::new(index.0, remote, Arc::clone(&statements)));
            Core::new(pools, Arc::clone(&shared))
        })
        .context("starting the cores")?;
    for core in cores.handles().iter() {
        core.run(|core| {
            tokio::task::spawn_local(std::rc::Rc::clone(core).keep_time());
        })
        .map_err(|gone| anyhow!("{gone}"))?;
    }
    Ok(cores)
}

fn bind(config: &Config) -> anyhow::Result<Vec<(Listener, Option<config::RoleSetting>)>> {
    let mut listeners = Vec::new();
    let config::Keepalive { idle, interval, count, user_timeout } = config.listen.keepalive;
    let options = SocketOptions {
        keepalive: Some(Keepalive { idle, interval, count }),
        user_timeout: Some(user_timeout),
    };
    for address in &config.listen.tcp {
        listeners.push((Listener::tcp(*address, options)?, None));
    }
    if let (Some(folder), Some(first)) = (&config.listen.unix_dir, config.listen.tcp.first()) {
        listeners.push((Listener::unix(folder, first.port())?, None));
    }
    for extra in &config.listen.extra {
        listeners.push((Listener::tcp(extra.tcp, options)?, extra.role));
    }
    Ok(listeners)
}

fn load_tls(config: &Config) -> anyhow::Result<Option<ServerTls>> {
    let tls = &config.listen.tls;
    let (Some(certificate), true) = (&tls.certificate, tls.mode != TlsMode::Disable) else { return Ok(None) };
    let key = tls.key.as_deref().ok_or_else(|| anyhow!("listen.tls.key is missing"))?;
    let demand = match tls.mode {
        TlsMode::VerifyCa | TlsMode::VerifyFull => ClientCertificate::Required,
        TlsMode::Disable | TlsMode::Allow | TlsMode::Prefer | TlsMode::Require => ClientCertificate::Optional,
    };
    let authority = tls.client_ca.as_deref().map(|ca| (ca, demand));
    Ok(Some(ServerTls::load(certificate, key, authority)?))
}

/// All of a valid file, or none of it.
fn reload(context: &Arc<Context>, path: Option<&Path>, watch: &mut Watch) -> Result<Vec<String>, String> {
    let path = path.ok_or("pgweir was started without a configuration file")?;
    let old = context.directory.load_full();
    let new = config::load(path).map_err(|errors| errors.to_string())?;
    let fixed = config::needs_restart(&old.config, &new);
    if !fixed.is_empty() {
        return Err(format!("only a restart can change {}", fixed.join(", ")));
    }
    let tls = load_tls(&new).map_err(|error| format!("{error:#}"))?;
    let warnings = new.warnings.clone();
    let next = Arc::new(old.reload(Arc::new(new)).map_err(|error| error.to_string())?);
    context.tls.store(tls.map(Arc::new));
    context.directory.store(Arc::clone(&next));
    old.retire(&next);
    *watch = control::watch(next);
    Ok(warnings)
}

fn hooks(wishes: &mpsc::UnboundedSender<Wish>) -> Hooks {
    let (reload, shutdown) = (wishes.clone(), wishes.clone());
    Hooks {
        reload: Arc::new(move || {
            let (reply, answer) = std::sync::mpsc::channel();
            reload.send(Wish::Reload(Some(reply))).map_err(|_| "pgweir is stopping".to_owned())?;
            answer.recv().map_err(|_| "pgweir is stopping".to_owned())?
        }),
        shutdown: Arc::new(move || {
            // A pgweir that is gone needs no telling.
            let _ = shutdown.send(Wish::Shutdown);
        }),
    }
}

fn listen_for_signals(wishes: &mpsc::UnboundedSender<Wish>) -> anyhow::Result<()> {
    for (kind, is_reload) in
        [(SignalKind::hangup(), true), (SignalKind::terminate(), false), (SignalKind::interrupt(), false)]
    {
        let mut signals = signal(kind).context("listening for signals")?;
        let wishes = wishes.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                let wish = if is_reload { Wish::Reload(None) } else { Wish::Shutdown };
                if wishes.send(wish).is_err() {
                    return;
                }
            }
        });
    }
    Ok(())
}

/// Lets transactions end; a second wish to stop ends them.
async fn shut_down(context: &Arc<Context>, inbox: &mut mpsc::UnboundedReceiver<Wish>) {
    tracing::info!(
        clients = context.seats.clients(),
        "stopping: transactions may end; once more to stop now"
    );
    session::stop(context, Stop::Graceful);
    loop {
        tokio::select! {
            wish = inbox.recv() => if matches!(wish, Some(Wish::Shutdown) | None) { break },
            () = everybody_gone(context) => return,
        }
    }
    tracing::info!(clients = context.seats.clients(), "stopping now");
    session::stop(context, Stop::Now);
    let _ = tokio::time::timeout(FAREWELL, everybody_gone(context)).await;
}

async fn everybody_gone(context: &Context) {
    while context.seats.clients() + context.seats.cleanups() > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Bytes that this thread has allocated, by the allocator's own count.
fn allocated() -> u64 {
    tikv_jemalloc_ctl::thread::allocatedp::read().map_or(0, |count| count.get())
}

/// A client and its server connection take a file each: as many as this process may have.
fn raise_file_limit() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}
