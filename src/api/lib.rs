//! The HTTP API: its shapes, and the client that the CLI and tests use.
//!
//! Every shape is here, so that server and client can't disagree. JSON with `snake_case` names under `/v1`
//! ([`paths`]); moments are RFC 3339, durations are milliseconds and say so in their name; streams are
//! server-sent events ([`sse`]) that go on where they were cut. Fields are only ever added, and a reader ignores
//! those that it doesn't know.
//!
//! # Why
//!
//! - **One number for a deploy.** Its id, counted over the cluster, is what progress, history, `--attach`,
//!   `--to` and `inspect` mean: `deployed shop #14` and `mill rollback --to 14` are the same 14.
//! - **One client over hyper** for the root-only Unix socket and for TLS: a connection per call. A command makes
//!   one or two calls, so a pool would only add states.
//! - **The CA is pinned, not the address** ([`trust`]): nodes are reached by addresses that change, through
//!   tunnels, by names that no certificate has.
//! - **A stream says its end.** A body that just stops was cut: [`sse::END`] tells the two apart.

pub mod actors;
pub mod allocs;
pub mod anything;
pub mod audit;
pub mod certs;
pub mod client;
pub mod daemon;
pub mod deploys;
pub mod doctor;
pub mod error;
pub mod events;
pub mod exec;
pub mod inspect;
pub mod logs;
pub mod names;
pub mod nodes;
pub mod openapi;
pub mod paths;
pub mod plan;
pub mod progress;
pub mod projects;
pub mod pulling;
pub mod registries;
pub mod secrets;
pub mod services;
pub mod sse;
pub mod status;
pub mod tasks;
pub mod token;
pub mod tokens;
pub mod top;
pub mod trust;
pub mod why;

pub use client::{Api, ClientError};
pub use error::{ApiError, Code};
pub use progress::{Progress, Step};
pub use pulling::Pulling;
pub use token::Token;
