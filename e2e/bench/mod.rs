//! Measurements beside the peers, in the same run on the same machine. They print and judge no time; they fail when
//! what they measure didn't happen.
//!
//! What needs rooms of Mill itself is measured by examples of the crates that may see them, which `cargo xtask bench`
//! runs too: `placements` and `appends` in `tests/sim`, `proposals` in `tests`.
//!
//! # Why
//! - **Interleaved.** A shared machine changes its mind within seconds; so each round measures Mill and its peer one
//!   right after the other, and the ratio is the median of the rounds' ratios.
//! - **Counted and spread.** A median without its count and its p10 and p90 says nothing.

mod api;
mod deploy;
mod exec;
mod figures;
mod footprint;
mod peers;
mod requests;
mod sockets;
mod start;
mod tasks;
mod writes;

use crate::harness::{Machine, World};
use crate::scenarios::{Pace, Story, Tell};

/// All of them. What they print is shown, pass or fail.
pub const BENCHES: &[Story] = &[
    Story { name: "bench_deploy", pace: Pace::Brisk, tell: Tell::Node(deploy::cached_image) },
    Story { name: "bench_exec", pace: Pace::Brisk, tell: Tell::Node(exec::latency) },
    Story { name: "bench_fifty", pace: Pace::Brisk, tell: Tell::Node(footprint::fifty_and_a_hundred) },
    Story { name: "bench_requests", pace: Pace::Brisk, tell: Tell::Node(requests::answered) },
    Story { name: "bench_writes", pace: Pace::Brisk, tell: Tell::Node(writes::through_the_api) },
    Story { name: "bench_sockets", pace: Pace::Brisk, tell: Tell::Node(sockets::bind_and_connect) },
    Story { name: "bench_tasks", pace: Pace::Brisk, tell: Tell::Node(tasks::spawned) },
    Story { name: "bench_start", pace: Pace::Brisk, tell: Tell::Node(start::to_ready) },
];

/// How often something is measured: `short`, or `long` if full counts are asked for.
fn times(machine: &Machine, short: usize, long: usize) -> usize {
    if machine.long { long } else { short }
}

/// What the machine has to do beside this, in the kernel's words: figures of a busy one are worth little.
fn load(world: &World) -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = load.split(' ').take(3).collect();
    format!("load {}, {} counts", load.join(" "), if world.machine.long { "full" } else { "short" })
}
