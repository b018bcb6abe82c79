//! Bounds, each with its reason (product.md P11).

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

/// Tasks of one project that wait for a place or run: more is a loop gone wrong, and each is a container.
pub const TASKS_PER_PROJECT_MAX: usize = 500;

/// Tasks that wait for a place or run in the whole cluster: as many containers as fifty machines hold.
pub const TASKS_MAX: usize = 5000;

/// Events that the state keeps for `mill events` and for streams that reconnect.
pub const EVENTS_KEPT: usize = 1000;

/// Deploys of one project that may wait for the running one. More is a script gone wrong.
pub const DEPLOYS_WAITING_MAX: usize = 8;

/// Smallest memory ceiling: runc's own start needs a few megabytes inside it.
pub const MEMORY_BYTES_MIN: u64 = 6 << 20;

/// Smallest CPU reservation in thousandths of a core: the kernel's quota has a floor of 1 ms per 100 ms period.
pub const CPU_MILLIS_MIN: u32 = 10;

/// The body of an API request: the largest config file with every character escaped in JSON, and its options.
pub const API_REQUEST_BYTES_MAX: usize = 8 << 20;

/// An API answer that the client reads: 100,000 allocs (product.md §10) of half a kilobyte each.
pub const API_ANSWER_BYTES_MAX: usize = 64 << 20;

/// One event of an API stream: a log line is cut long before this.
pub const API_EVENT_BYTES_MAX: usize = 1 << 20;

/// Last log lines of a failed container that its deploy's progress carries.
pub const LOG_TAIL_LINES: usize = 20;

/// Connections to the API that are open at a time, for each of its two listeners: a hundred people with a dashboard
/// and a console each, and their pipelines. A strange flood on the network can't take the local socket's share.
pub const API_CONNECTIONS_MAX: usize = 512;

/// Requests that one HTTP/2 connection may have open.
pub const API_STREAMS_PER_CONNECTION_MAX: u32 = 64;

/// Bytes of a request's head: a path, a token and a handful of headers are below one kilobyte.
pub const API_HEAD_BYTES_MAX: usize = 32 << 10;

/// Registries asked at a time when a deploy's tags are resolved: most projects have fewer images, and a registry
/// that counts requests isn't annoyed.
pub const IMAGES_RESOLVED_AT_ONCE: usize = 8;

/// Crashes of an actor in a row that its supervisor answers with a restart. With `Tempo::actor_backoff` they take
/// eleven seconds: longer than a neighbour's restart, shorter than a person's patience.
pub const ACTOR_CRASHES_MAX: u32 = 5;

/// Statuses that a node puts into one report: each is below a kilobyte, and one Raft entry should stay below
/// half a megabyte so that it doesn't hold up the next heartbeat.
pub const REPORTS_PER_BATCH_MAX: usize = 500;

/// Largest CPU reservation in thousandths of a core: no machine has a thousand cores; more is a slip of the unit.
pub const CPU_MILLIS_MAX: u32 = 1_024_000;

/// Longest duration that a config may ask for. A longer wait is a slip of the unit, and far enough from every
/// overflow.
pub const DURATION_MAX: std::time::Duration = std::time::Duration::from_secs(30 * 24 * 3600);

/// Shortest pause between two health checks: ten a second tell all that there is to know of a program.
pub const HEALTH_INTERVAL_MIN: std::time::Duration = std::time::Duration::from_millis(100);

/// Failed health checks in a row that a service may be given: more is the same as no check.
pub const HEALTH_RETRIES_MAX: u32 = 1000;

/// Characters of a secret's name: room for any naming scheme, short enough for tables.
pub const SECRET_NAME_LENGTH_MAX: usize = 128;

/// Bytes of a secret's value: certificates with their chains and keys of services are far below it; larger files
/// belong into an image or a volume.
pub const SECRET_BYTES_MAX: usize = 64 << 10;

/// Bytes of a sealed value: the longest value with its label, and what sealing adds to it (about 200 bytes).
pub const SEALED_BYTES_MAX: usize = SECRET_BYTES_MAX + (1 << 10);

/// Newest versions of a secret that are kept though nothing names them: enough to look back over a bad week of
/// rotations. What a deploy of the history names is kept besides.
pub const SECRET_VERSIONS_KEPT: usize = 10;

/// Secrets in all: twenty for each of fifty projects.
pub const SECRETS_MAX: usize = 1000;

/// Bytes of all sealed versions together. Every node holds them in memory, and they are part of every snapshot.
pub const SECRETS_BYTES_MAX: usize = 16 << 20;

/// Bytes of a path: the kernel's PATH_MAX, its NUL included.
pub const PATH_BYTES_MAX: usize = 4095;

/// One file of a stream's output with its index. Small enough that removing the oldest loses little at a time.
pub const LOG_SEGMENT_BYTES: u64 = 10 << 20;

/// Files' worth of output that a stream of an alloc keeps, over all its runs (product.md §8).
pub const LOG_SEGMENTS: u64 = 3;

/// Files of a stream, however small: an alloc that crashes once a minute keeps the output of its last half hour.
pub const LOG_FILES_MAX: usize = 32;

/// A line of output; longer ones are shown in pieces. Docker cuts there too, so that tools cope.
pub const LOG_LINE_BYTES_MAX: usize = 16 << 10;

/// A manifest or index of an image: the distribution specification has registries accept 4 MiB.
pub const MANIFEST_BYTES_MAX: u64 = 4 << 20;

/// An image's config blob: it holds the history of its layers; the largest seen have some hundred kilobytes.
pub const IMAGE_CONFIG_BYTES_MAX: u64 = 8 << 20;

/// Layers of an image: overlayfs takes 500 lower directories, the writable one is another.
pub const IMAGE_LAYERS_MAX: usize = 499;

/// Layers of one pull that are downloaded at the same time: Docker's number, kind to registries.
pub const LAYERS_AT_ONCE: usize = 3;

/// Attempts to get one blob within a pull before the pull has failed; each goes on where the last one stopped.
pub const BLOB_ATTEMPTS_MAX: u32 = 5;

/// Processes and threads of one container: enough for a JVM with a thread per connection, too few for a fork
/// bomb to take the node's pids.
pub const PIDS_MAX: i64 = 4096;

/// Open files of one container, where the node's own ceiling is no lower: Docker's default.
pub const OPEN_FILES_MAX: u64 = 1 << 20;

/// Output of a program executed within a container that is kept: its end, for the message of a failed check.
pub const EXEC_OUTPUT_BYTES_MAX: usize = 4 << 10;

/// An ephemeral volume whose config names no size.
pub const SCRATCH_BYTES_DEFAULT: u64 = 1 << 30;

/// Smallest ephemeral volume: a file system's own tables need some of it.
pub const SCRATCH_BYTES_MIN: u64 = 2 << 20;

/// Attempts to pull an image before its alloc has failed; each has several of its own per blob. Transient
/// trouble of a registry passes in seconds; a deploy should say soon that it doesn't.
pub const PULL_ATTEMPTS_MAX: u32 = 3;

/// Bytes that an attempt to get a blob has to bring so that the attempts before it are forgotten: a line that breaks
/// every few megabytes gets a large layer all the same, one that breaks at once doesn't try for ever.
pub const BLOB_STEP_BYTES_MIN: u64 = 1 << 20;

/// Characters of what a failed check or an attempt to pull saw: a line or two on a terminal. It is replicated.
pub const SEEN_CHARS_MAX: usize = 240;

/// Private loopbacks of a node, counted from 1: what two bytes hold. Allocs without ports have one too.
pub const LOOPBACKS_MAX: u16 = u16::MAX - 1;

/// Bytes of a stream of an executed program that are on their way and not read yet: a second over a line of two
/// megabits, and little enough for each of many to be held in memory.
pub const EXEC_WINDOW_BYTES: usize = 256 << 10;

/// One message of such a stream, and one of the command line's words to a program: what the kernel lets a program be
/// given is 128 KiB for each word, and a message holds a few of them.
pub const EXEC_MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Bytes read at a time of what an executed program writes.
pub const EXEC_CHUNK_BYTES: usize = 16 << 10;

/// Programs that people execute in one node's containers at a time: each is a handful of processes and pipes.
pub const EXEC_SESSIONS_MAX: usize = 64;

/// Tokens of a cluster: one for each person and pipeline of a large team, ten times over.
pub const TOKENS_MAX: usize = 1000;

/// Projects that one token may name. Who has more means all.
pub const TOKEN_PROJECTS_MAX: usize = 100;

/// Writes that the audit log keeps: a team's of some weeks, in half a megabyte.
pub const AUDIT_KEPT: usize = 2000;

/// Characters of an audit record's texts: the longest path of the API with the longest names in it.
pub const AUDIT_TEXT_CHARS_MAX: usize = 200;

/// Registries that the cluster has credentials for: more than any team pulls from.
pub const REGISTRIES_MAX: usize = 100;

/// Bytes of a registry's password: cloud registries give out tokens of some kilobytes.
pub const REGISTRY_PASSWORD_BYTES_MAX: usize = 16 << 10;

/// Source addresses whose failed authentications a node remembers. Beyond it the one that failed longest ago is
/// forgotten: whoever has thousands of addresses isn't held up by this, and still has 160 bits to guess.
pub const SOURCES_MAX: usize = 4096;

/// Failed authentications of an address before it is locked out: a person pastes a wrong token a few times, and a
/// script that is being written fails as often.
pub const AUTH_FAILURES_FREE: u32 = 10;

/// Tokens that an address has used lately and that its lock-out doesn't hold up: those of a team behind one address.
pub const SOURCE_TOKENS_MAX: usize = 8;

/// Requests that one token may make per second in the long run. A dashboard makes one, a busy pipeline ten.
pub const TOKEN_REQUESTS_PER_SECOND: u32 = 200;

/// Requests that one token may make at once after a pause: a script that lists everything.
pub const TOKEN_REQUESTS_BURST: u32 = 1000;

/// Connections over TLS that one source address may have open: a quarter of all, so that one can't shut out the rest.
pub const API_CONNECTIONS_PER_SOURCE_MAX: usize = API_CONNECTIONS_MAX / 4;

/// Refused writes that a node puts into its log per minute; what is beyond is counted.
pub const REFUSED_WRITES_LOGGED_PER_MINUTE: u32 = 60;

/// Writes with an idempotency key that the cluster remembers: a day of a busy team's, in half a megabyte.
pub const ONCE_KEPT: usize = 2000;

/// How long: a client that repeats a write later than this has forgotten it itself. Part of the replicated state's rules,
/// so no [`crate::Tempo`].
pub const ONCE_KEPT_FOR: std::time::Duration = std::time::Duration::from_hours(24);

/// Bytes of an answer that is kept with such a write: one of a thing that is gone by then, a token of many projects.
pub const ONCE_ANSWER_BYTES_MAX: usize = 4 << 10;

/// Characters of an idempotency key: a few UUIDs.
pub const IDEMPOTENCY_KEY_CHARS_MAX: usize = 128;
