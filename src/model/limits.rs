//! Bounds, each with its reason (product.md P11).

use std::time::Duration;

/// A project, service or node name: a DNS label has 63 octets (RFC 1035 §2.3.4); room is left for the
/// alloc's suffix and for what later names are built from it.
pub const NAME_LENGTH_MAX: usize = 40;

/// A config file. The largest a person writes is a few hundred kilobytes; the rest is an accident.
pub const CONFIG_BYTES_MAX: usize = 1 << 20;

/// Nesting in a config file. The grammar needs three levels; a parser's stack must not be the limit.
pub const CONFIG_DEPTH_MAX: usize = 16;

/// Services and tasks in one project: ten times the size that Mill is made for.
pub const WORKLOADS_PER_PROJECT_MAX: usize = 500;

/// Replicas of one service: more than 50 machines can usefully hold.
pub const REPLICAS_MAX: u32 = 1000;

/// Ports of one workload.
pub const PORTS_MAX: usize = 64;

/// Environment variables of one workload.
pub const ENV_MAX: usize = 500;

/// All argument and environment strings of one workload together: the kernel takes 2 MiB less room for the
/// stack (execve(2)); a quarter of it leaves room for what references grow to.
pub const ARGUMENT_BYTES_MAX: usize = 512 << 10;

/// The first and last number of a node's pool of mapped ports. Below Linux's default ephemeral range
/// (32768–60999), above what programs usually declare.
pub const MAPPED_PORTS: std::ops::RangeInclusive<u16> = 20_000..=29_999;

/// Failures in a row after which a node gives an alloc back to the leader (product.md §3).
pub const FAILURES_BEFORE_GIVEN_BACK: u32 = 5;

/// Failures of one new replica after which its deploy counts it as failed: one may be a dependency that
/// wasn't ready, two bad luck.
pub const FAILURES_BEFORE_ROLLBACK: u32 = 3;

/// Deploys that a project's history keeps (product.md §5).
pub const HISTORY_KEPT: usize = 20;

/// Ended allocs of a workload that stay listed, with their logs, so that a failed deploy can be looked into.
pub const ENDED_ALLOCS_KEPT: usize = 5;

/// Ended tasks that stay listed in the whole cluster (product.md §3).
pub const ENDED_TASKS_KEPT: usize = 1000;

/// Events that the state keeps for `mill events` and for streams that reconnect.
pub const EVENTS_KEPT: usize = 1000;

/// Deploys of one project that may wait for the running one. More is a script gone wrong.
pub const DEPLOYS_WAITING_MAX: usize = 8;

/// Smallest memory ceiling: runc's own start needs a few megabytes inside it.
pub const MEMORY_BYTES_MIN: u64 = 6 << 20;

/// Smallest CPU reservation in thousandths of a core: the kernel's quota has a floor of 1 ms per 100 ms period.
pub const CPU_MILLIS_MIN: u32 = 10;

/// Largest CPU reservation in thousandths of a core: no machine has a thousand cores; more is a slip of the unit.
pub const CPU_MILLIS_MAX: u32 = 1_024_000;

/// Longest duration that a config may ask for. A longer wait is a slip of the unit, and far enough from every
/// overflow.
pub const DURATION_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Shortest pause between two health checks: ten a second tell all that there is to know of a program.
pub const HEALTH_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// Failed health checks in a row that a service may be given: more is the same as no check.
pub const HEALTH_RETRIES_MAX: u32 = 1000;

/// Characters of a secret's name: room for any naming scheme, short enough for tables.
pub const SECRET_NAME_LENGTH_MAX: usize = 128;

/// Bytes of a path: the kernel's PATH_MAX, its NUL included.
pub const PATH_BYTES_MAX: usize = 4095;

/// The body of an API request: the largest config file with every character escaped in JSON, and its options.
pub const API_REQUEST_BYTES_MAX: usize = 8 << 20;

/// An API answer that the client reads: 100,000 allocs (product.md §10) of half a kilobyte each.
pub const API_ANSWER_BYTES_MAX: usize = 64 << 20;

/// One event of an API stream: a log line is cut long before this.
pub const API_EVENT_BYTES_MAX: usize = 1 << 20;

/// Last log lines of a failed container that its deploy's progress carries.
pub const LOG_TAIL_LINES: usize = 20;
