//! The thread that spawns servers.
//!
//! A parent-death signal is sent when the *thread* that spawned the child ends, and a cluster may well be
//! started by a thread that ends before it. So one thread, which lives as long as this process, spawns all.

use std::io;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

struct Order {
    command: Command,
    reply: Sender<io::Result<Child>>,
}

/// Spawns the command from the thread that outlives all callers.
pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    static LAUNCHER: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    let launcher = LAUNCHER.get_or_init(|| {
        let (sender, orders) = channel();
        thread::spawn(move || serve(&orders));
        Mutex::new(sender)
    });
    let (reply, answer) = channel();
    let order = Order { command, reply };
    let gone = || io::Error::other("the thread that spawns servers is gone");
    launcher.lock().unwrap_or_else(PoisonError::into_inner).send(order).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

fn serve(orders: &Receiver<Order>) {
    while let Ok(Order { mut command, reply }) = orders.recv() {
        // Whoever asked may be gone only if it panicked; the child is then dropped, not waited for.
        drop(reply.send(command.spawn()));
    }
}
