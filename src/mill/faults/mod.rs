//! Panics to order: what a defect in any actor would do, tried on the whole program.
//!
//! # Why
//!
//! A supervisor that was never seen to catch a panic isn't known to. In the program there is none to be had, so a story
//! builds it with the feature `faults`: then the variable `MILL_FAULTS` names a directory in which a socket listens,
//! `daemon.sock` or `plane.sock`, for root alone. Each line that comes over it names an actor as `mill actors` does, and
//! that one panics; the answer is `ok`, or why not. What people run is built without the feature, and has none of this.

#[cfg(feature = "faults")]
mod ordered;

use mill_actors::kit::Introspect;

/// Lets the actors of a process' tree panic as ordered, where that was built in. Never returns. `process` is `daemon` or
/// `plane`.
pub(crate) async fn obey(tree: &Introspect, process: &str) {
    #[cfg(feature = "faults")]
    ordered::Faults::of(std::env::var_os(ordered::VARIABLE), process).obey(tree).await;
    #[cfg(not(feature = "faults"))]
    let _ = (tree, process);
    std::future::pending::<()>().await;
}
