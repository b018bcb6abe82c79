//! Whole nodes in this process: every actor and the wiring of production, over fakes and paused time.
//!
//! # Why
//!
//! Paused time jumps to the next timer whenever no task can go on, and a task that waits for a socket can't: each
//! hop of a request over a Unix socket costs as much time as lies before the next timer, which might be the request's
//! own deadline. So a [`Beat`] wakes up a hundred times a second, and a hop costs a hundredth of a second.

mod certificates;
mod disks;
mod kills;
mod machine;
mod panics;
mod programs;
mod restarts;
mod secrets;
mod stories;
mod tasks;
mod troubles;

use std::time::Duration;

use mill_drivers::bundle::Fakes;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use programs::Programs;

/// What a hop over a socket costs at most.
const BEAT: Duration = Duration::from_millis(10);

/// Keeps paused time from leaping while a request is on its way, and a machine's programs going.
struct Beat(JoinHandle<()>);

impl Beat {
    fn start(fakes: Fakes, mut programs: Programs) -> Self {
        Self(tokio::spawn(async move {
            loop {
                programs.go_on(&fakes);
                tokio::time::sleep(BEAT).await;
            }
        }))
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        self.0.abort();
    }
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Waits until it is so, and panics with what `is_so` saw if it isn't within an hour of paused time.
async fn until<T>(what: &str, mut is_so: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + secs(3600);
    let mut pause = ms(1);
    loop {
        match is_so().await {
            Ok(seen) => return seen,
            Err(seen) => assert!(Instant::now() < deadline, "it never came that {what}: {seen}"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 21 / 20).min(ms(100));
    }
}

/// Lets time pass.
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}
