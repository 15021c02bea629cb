//! The home of the per-core runtimes: threads of one event loop each, with a state of their own that no other thread
//! touches.

mod job;

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc as started;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, LocalOptions, Runtime};
use tokio::sync::mpsc;

pub use job::{CoreGone, CoreHandle};
use job::{Message, work};

/// Which core: 0 to their number − 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CoreIndex(pub usize);

/// How the event loops are tuned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoreOptions {
    /// Polls of tasks between two looks at the sockets, while tasks are ready.
    pub event_interval: u32,
    /// Threads at most for each core's blocking work (DNS, password hashing); they end when idle.
    pub blocking_threads: usize,
}

impl Default for CoreOptions {
    fn default() -> Self {
        CoreOptions { event_interval: 61, blocking_threads: 4 }
    }
}

/// The running cores; `S` is the state that each owns.
#[derive(Debug)]
pub struct Cores<S> {
    handles: Arc<[CoreHandle<S>]>,
    threads: Vec<JoinHandle<()>>,
}

impl<S: 'static> Cores<S> {
    /// Starts `count` cores (at least one) with the default options; `make` builds each one's state on its thread,
    /// inside its runtime.
    pub fn start(
        count: usize,
        make: impl Fn(CoreIndex) -> S + Send + Clone + 'static,
    ) -> io::Result<Cores<S>> {
        Cores::start_with(count, CoreOptions::default(), move |index, _| make(index))
    }

    /// The same with options; `make` is also given the handles of all cores, itself among them, in order. Returns
    /// once every core runs; an error if a thread or runtime can't be had or `make` panics.
    pub fn start_with(
        count: usize,
        options: CoreOptions,
        make: impl Fn(CoreIndex, &Arc<[CoreHandle<S>]>) -> S + Send + Clone + 'static,
    ) -> io::Result<Cores<S>> {
        let (handles, inboxes): (Vec<_>, Vec<_>) = (0..count.max(1)).map(CoreHandle::new).unzip();
        let mut cores = Cores { handles: handles.into(), threads: Vec::with_capacity(inboxes.len()) };
        let (report, reports) = started::channel();
        for (index, inbox) in inboxes.into_iter().enumerate() {
            let (make, report, handles) = (make.clone(), report.clone(), Arc::clone(&cores.handles));
            let body = move || run_core(CoreIndex(index), options, inbox, &handles, make, report);
            let name = format!("pgweir-core-{index}");
            cores.threads.push(std::thread::Builder::new().name(name).spawn(body)?);
        }
        drop(report);
        for _ in 0..cores.threads.len() {
            let died = |_| io::Error::other("a core ended before it ran");
            reports.recv().map_err(died)??;
        }
        Ok(cores)
    }

    /// The cores' handles, in order.
    pub fn handles(&self) -> &Arc<[CoreHandle<S>]> {
        &self.handles
    }

    /// Tells every core to stop after what is in its queue, and waits until all have. Their tasks are dropped where
    /// they wait. Blocks the calling thread: not to be called on a core.
    pub fn shutdown(mut self) {
        self.stop();
    }
}

impl<S> Cores<S> {
    fn stop(&mut self) {
        for handle in self.handles.iter() {
            handle.stop();
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a core's thread had panicked");
            }
        }
    }
}

impl<S> Drop for Cores<S> {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The small separate runtime for what may be slow: accepting, logins, probes, HTTP. (Two threads: one handshake's
/// arithmetic must not keep the others waiting.)
pub fn slow_runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(2).thread_name("pgweir-door").enable_all().build()
}

fn run_core<S: 'static>(
    index: CoreIndex,
    options: CoreOptions,
    inbox: mpsc::UnboundedReceiver<Message<S>>,
    handles: &Arc<[CoreHandle<S>]>,
    make: impl Fn(CoreIndex, &Arc<[CoreHandle<S>]>) -> S,
    report: started::Sender<io::Result<()>>,
) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .event_interval(options.event_interval.max(1))
        .max_blocking_threads(options.blocking_threads.max(1))
        .build_local(LocalOptions::default());
    // Nobody waits for the reports any more if another core failed to start: then nothing is lost either.
    match runtime {
        Err(error) => drop(report.send(Err(error))),
        Ok(runtime) => {
            runtime.block_on(async {
                let state = Rc::new(make(index, handles));
                drop(report.send(Ok(())));
                // Kept, it would hide from `start_with` that another core died.
                drop(report);
                work(index, &state, inbox).await;
            });
            // A blocking call that hangs (DNS) must not keep the process from ending.
            runtime.shutdown_background();
        }
    }
}
