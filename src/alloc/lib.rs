//! One allocation's life on its node (product.md §3): phases, health, restarts, mapped ports.
//!
//! A decider: [`Life`] takes what happened and answers what is to be done; [`ports::Pool`] knows which port
//! is whose. Clock, containers, sockets and disk are the caller's (`actors/alloc`, `control::node`).
//!
//! # Why a machine of its own
//! What restarts a container, when, and how often is the promise that users lean on most. As a pure function
//! of its inputs it is tried over millions of orders of events, daemon restarts at every point included,
//! which no test with real containers reaches.

pub mod assignment;
pub mod env;
pub mod life;
pub mod loopbacks;
pub mod ports;
pub mod record;

pub use assignment::{Assignment, Kind};
pub use life::{
    Asked, Check, CheckFailure, Clash, Effect, Exit, Found, FoundState, Heard, Input, Life, Timer, TimerKind,
};
pub use record::{Ending, Record, RecordError};
