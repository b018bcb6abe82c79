//! Every duration of Mill, in one place, each with its reason.

use std::time::Duration;

/// The durations that actors and deciders are handed. Tests use the same ones under paused time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tempo {
    /// Pauses before the next incarnation of a service's alloc, by failures in a row; the last one repeats
    /// (product.md §3).
    pub restart_backoff: [Duration; 4],
    /// Health for this long forgets earlier failures (product.md §3).
    pub failures_forgotten_after: Duration,
    /// A service without a check and without ports counts as healthy once it has run this long (product.md §2).
    pub healthy_after: Duration,
    /// Until the first success, checks run this often (product.md §3): a start is measured in milliseconds.
    pub first_checks_every: Duration,
    /// How long the runtime may take to make, start, signal or remove a container before the attempt counts as
    /// failed. Under load containerd was seen to take seconds.
    pub runtime_deadline: Duration,
    /// How long one attempt to pull an image may go without receiving a byte.
    pub pull_stalled_after: Duration,
    /// Pauses between attempts to pull; the last one repeats.
    pub pull_backoff: [Duration; 3],
    /// Pauses between attempts to get one blob within a pull: a broken connection, not a broken registry.
    pub blob_backoff: [Duration; 3],
    /// How long the runtime may take to unpack one layer: several GB on a slow disk.
    pub unpack_deadline: Duration,
    /// After this an image whose pull nobody finished may be collected: within it a retry goes on where the last
    /// attempt stopped.
    pub pull_kept: Duration,
    /// Pauses before a wait for a container's end asks a runtime again that was out of reach.
    pub runtime_backoff: [Duration; 3],
    /// How long an alloc waits for its image: 10 GB over a line of 3 MB/s.
    pub pull_deadline: Duration,
    /// Raft's clock: one tick. Election takes ten to twenty of them, a heartbeat one.
    pub raft_tick: Duration,
    /// Pause before a snapshot of the state is tried again that found no room on the disk.
    pub snapshot_retry: Duration,
    /// Pauses before a crashed actor is started again, by crashes in a row; the last one repeats. The first is
    /// short: most crashes are one bad message.
    pub actor_backoff: [Duration; 4],
    /// This long without a crash forgets an actor's earlier ones.
    pub actor_forgiven_after: Duration,
    /// How long one actor waits for another's answer, unless it says otherwise. Ten times the slowest answer
    /// seen on a loaded two-core machine.
    pub ask_deadline: Duration,
    /// How long a look at the tree of actors waits for what they show of their state: a person waits for it, and a
    /// healthy actor answers in microseconds.
    pub observe_deadline: Duration,
    /// How often someone who follows a log looks for more: a person sees no delay, and ten looks a second cost
    /// nothing.
    pub log_poll: Duration,
    /// How long a daemon that starts waits for what another one holds: one that was killed a moment ago holds its locks
    /// until the kernel has taken it apart. Whoever starts a second one by mistake waits no longer than that to hear it.
    pub lock_patience: Duration,
    /// How often such a lock is looked at.
    pub lock_look: Duration,
    /// How long an API write waits for its command to be applied.
    pub write_deadline: Duration,
    /// How often the leader looks for work that no event announced (deadlines, retention).
    pub leader_round: Duration,
    /// Ended allocs and tasks are forgotten after this (product.md §3).
    pub ended_kept: Duration,
    /// Images and snapshots that nothing uses are removed after this: a rollback shortly after needs no pull.
    pub images_kept: Duration,
    /// How often unused images and leftovers are looked for.
    pub collect_every: Duration,
    /// How often it is looked whether ports are still mapped as they should be: somebody's `rm` is rare, and nothing that
    /// runs is hurt by it, only what binds next.
    pub datapath_every: Duration,
    /// How long a daemon that was told to stop waits for its actors before it leaves anyway.
    pub shutdown_deadline: Duration,
    /// How long the client of the API waits for a connection: a node at the other end of the world answers in
    /// half a second, twice over for TLS.
    pub api_connect_deadline: Duration,
    /// How long the client waits for an answer that the node has at hand.
    pub api_read_deadline: Duration,
    /// How long the client waits for an answer that takes a registry and a commit: `write_deadline` and a slow
    /// registry's.
    pub api_write_deadline: Duration,
    /// How long a connection to the API may take for its TLS handshake and for the head of each request, and be idle
    /// between two: a slow phone needs a second.
    pub api_head_deadline: Duration,
    /// How long a request's body may take: its eight megabytes over a slow line.
    pub api_body_deadline: Duration,
    /// A client that is owed bytes and takes none for this long is cut.
    pub api_stalled_after: Duration,
    /// How long the registries may take to say what a deploy's tags mean. With `write_deadline` it stays below
    /// `api_write_deadline`, so that the client hears why.
    pub resolve_deadline: Duration,
    /// How long a fresh log line waits for earlier ones of other allocs: the time from a program's write until the
    /// line can be read, on a loaded machine.
    pub log_window: Duration,
    /// How long an answer waits for log lines that merely add to it.
    pub log_tail_deadline: Duration,
    /// How long the API accepts nobody when the system has nothing to give: no file descriptor, no memory.
    pub accept_rest: Duration,
    /// Time for an answer to leave before the actor that gives it is restarted.
    pub api_farewell: Duration,
    /// A check keeps its timeout by itself; with its double this bounds what lies around it, the runtime's answers.
    pub check_margin: Duration,
    /// How often at most it is told how far a pull is: a person sees a bar move.
    pub pull_shown_every: Duration,
    /// How often a daemon that starts looks whether its rooms are up: a person waits for it.
    pub startup_look: Duration,
    /// How often a process gives back memory that it holds and doesn't use: a burst's worth of it for a moment is no
    /// harm, and to look costs a millisecond.
    pub memory_given_back_every: Duration,
    /// How long a thread that waited for a disk stays for the next work.
    pub disk_thread_kept: Duration,
    /// How often a service manager that keeps no watch hears how the node is: a person looks now and then.
    pub status_told_every: Duration,
    /// How long a program may take to say its version. They take milliseconds; a hung one is a finding of its own.
    pub version_deadline: Duration,
    /// How long a run isn't healthy until what its check sees is told. Most programs have begun to listen by then; who
    /// waits at a terminal begins to wonder.
    pub unready_after: Duration,
    /// More than a wall clock is ever corrected by without being set: what is less is followed at once.
    pub clock_leap: Duration,
    /// How long it is told that a wall clock was set: until somebody who looks in the morning has seen it.
    pub jump_told_for: Duration,
    /// How often the node looks what its containers use. What is shown is the mean since the last look: shorter, and it
    /// jumps; longer, and a new container has no numbers when its owner looks for them.
    pub usage_every: Duration,
    /// How long a look at what containers use is answered to all who ask: half of what `mill top` waits between two, so
    /// that any number of people who look cost as much as two.
    pub usage_shared_for: Duration,
    /// How long an address is locked out whose authentications failed too often, by failures beyond those that are
    /// free; the last one repeats. Short at first: most are slips.
    pub lock_out: [Duration; 4],
    /// Failed authentications of an address are forgotten after this long without another; so is that a token was used
    /// from there.
    pub lock_out_forgotten_after: Duration,
    /// Shortest life that a token can be given: shorter, and it is over before it is pasted.
    pub token_life_min: Duration,
    /// How long a node's certificate is valid. It is renewed at two thirds of that, so that a node may be switched off for a
    /// month.
    pub certificate_life: Duration,
    /// How long the CA before the cluster's is trusted unless somebody says otherwise: time to give people and pipelines
    /// tokens with the new fingerprint.
    pub ca_kept: Duration,
    /// How often a node looks whether its certificate is due.
    pub certificate_look: Duration,
    /// How often the server says something on a stream that has nothing to say.
    pub api_keepalive: Duration,
    /// A stream silent for this long is dead: three keep-alives.
    pub api_silence: Duration,
    /// Pauses before a lost stream is opened again; the last one repeats. The first is what a restarted daemon
    /// needs to come up.
    pub api_reconnect_backoff: [Duration; 3],
    /// After this long without a connection the client gives a stream up: a daemon or a leader is back long
    /// before (product.md §6).
    pub api_reconnect_for: Duration,
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

impl Default for Tempo {
    fn default() -> Self {
        Self {
            restart_backoff: [secs(1), secs(5), secs(30), secs(60)],
            failures_forgotten_after: secs(600),
            healthy_after: secs(1),
            first_checks_every: ms(250),
            runtime_deadline: secs(30),
            pull_stalled_after: secs(30),
            pull_backoff: [secs(1), secs(5), secs(30)],
            blob_backoff: [ms(250), secs(1), secs(3)],
            unpack_deadline: secs(600),
            pull_kept: secs(24 * 3600),
            runtime_backoff: [ms(50), ms(250), secs(1)],
            pull_deadline: secs(3600),
            raft_tick: ms(100),
            snapshot_retry: secs(30),
            actor_backoff: [ms(50), ms(250), secs(1), secs(5)],
            actor_forgiven_after: secs(60),
            ask_deadline: secs(5),
            observe_deadline: ms(200),
            log_poll: ms(100),
            lock_patience: ms(500),
            lock_look: ms(10),
            write_deadline: secs(10),
            leader_round: secs(1),
            ended_kept: secs(24 * 3600),
            images_kept: secs(3600),
            collect_every: secs(60),
            datapath_every: secs(30),
            shutdown_deadline: secs(5),
            api_connect_deadline: secs(5),
            api_read_deadline: secs(15),
            api_write_deadline: secs(60),
            api_head_deadline: secs(15),
            api_body_deadline: secs(30),
            api_stalled_after: secs(30),
            resolve_deadline: secs(20),
            log_window: ms(250),
            log_tail_deadline: secs(2),
            accept_rest: ms(100),
            api_farewell: ms(100),
            check_margin: secs(1),
            pull_shown_every: ms(250),
            startup_look: ms(100),
            memory_given_back_every: secs(2),
            disk_thread_kept: secs(1),
            status_told_every: secs(10),
            version_deadline: secs(5),
            unready_after: secs(5),
            clock_leap: secs(2),
            jump_told_for: secs(24 * 3600),
            usage_every: secs(2),
            usage_shared_for: Duration::from_millis(500),
            lock_out: [secs(1), secs(5), secs(15), secs(60)],
            lock_out_forgotten_after: secs(3600),
            token_life_min: secs(60),
            certificate_life: secs(90 * 24 * 3600),
            ca_kept: secs(30 * 24 * 3600),
            certificate_look: secs(3600),
            api_keepalive: secs(5),
            api_silence: secs(15),
            api_reconnect_backoff: [ms(150), ms(500), secs(2)],
            api_reconnect_for: secs(60),
        }
    }
}

impl Tempo {
    /// The pause after the `failures`-th failure in a row, counted from 1.
    pub fn restart_delay(&self, failures: u32) -> Duration {
        nth(&self.restart_backoff, failures)
    }

    /// The pause after the `crashes`-th crash of an actor in a row, counted from 1.
    pub fn actor_delay(&self, crashes: u32) -> Duration {
        nth(&self.actor_backoff, crashes)
    }

    /// The pause after the `attempts`-th failed pull, counted from 1.
    pub fn pull_delay(&self, attempts: u32) -> Duration {
        nth(&self.pull_backoff, attempts)
    }

    /// The pause before the `attempts`-th try to open a lost stream again, counted from 1.
    pub fn reconnect_delay(&self, attempts: u32) -> Duration {
        nth(&self.api_reconnect_backoff, attempts)
    }

    /// The pause after the `attempts`-th failed attempt to get a blob, counted from 1.
    pub fn blob_delay(&self, attempts: u32) -> Duration {
        nth(&self.blob_backoff, attempts)
    }

    /// How long an address is locked out after its `failures`-th failure beyond the free ones, counted from 1.
    pub fn lock_out_for(&self, failures: u32) -> Duration {
        nth(&self.lock_out, failures)
    }

    /// The pause after the `attempts`-th attempt to reach the runtime, counted from 1.
    pub fn runtime_delay(&self, attempts: u32) -> Duration {
        nth(&self.runtime_backoff, attempts)
    }
}

fn nth(steps: &[Duration], count: u32) -> Duration {
    let index = usize::try_from(count.saturating_sub(1)).unwrap_or(usize::MAX);
    steps.get(index).or(steps.last()).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crashing_service_waits_1_5_30_and_then_60_seconds() {
        let tempo = Tempo::default();
        let waits: Vec<u64> = [0, 1, 2, 3, 4, 5, 99].map(|n| tempo.restart_delay(n).as_secs()).to_vec();
        assert_eq!(waits, [1, 1, 5, 30, 60, 60, 60]);
    }
}
