//! What few requests need, kept away from the code that every request runs.

use std::pin::Pin;

/// Boxes a future that is rarely needed. Its code is called, and not laid between what each request runs: of that, all
/// lines have to fit into a processor's nearest cache, which the kernel has used in between.
#[cold]
#[inline(never)]
pub(crate) fn aside<'a, T>(future: impl Future<Output = T> + 'a) -> Pin<Box<dyn Future<Output = T> + 'a>> {
    Box::pin(future)
}
