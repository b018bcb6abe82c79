//! The memory of this process that belongs to no file: what its allocator keeps of it, and gives back.
//!
//! # Why
//! - **Few arenas.** glibc's allocator makes one for each thread that finds the others taken, eight for each core at
//!   most, and what one has freed no other can use. A daemon's threads come and go with bursts of work; on a machine of
//!   32 cores they would leave 256 arenas with something in each.
//! - **Given back after bursts.** What is freed in the middle of an arena stays with the process for good unless it is
//!   asked for: after a deploy of a hundred containers that was two thirds of what a daemon held. To ask costs a
//!   millisecond for some ten megabytes.
//!
//! Another C library than glibc (`target_env = "gnu"`) has neither: there both do nothing.

use std::convert::Infallible;
use std::time::Duration;

/// Arenas of the allocator: a second one for whoever would have to wait.
#[cfg(target_env = "gnu")]
const ARENAS_MAX: libc::c_int = 2;

/// What is larger is taken from the system by itself and given back at once. The allocator would raise this by itself, to as
/// much as it has once seen freed: ten megabytes, when the kernel has verified the first program.
#[cfg(target_env = "gnu")]
const BY_ITSELF: libc::c_int = 128 << 10;

/// Bounds what the allocator keeps. It has to be called before the process has a second thread; later it bounds those that
/// are made from then on.
pub fn bound() {
    #[cfg(target_env = "gnu")]
    {
        for (setting, value) in [(libc::M_ARENA_MAX, ARENAS_MAX), (libc::M_MMAP_THRESHOLD, BY_ITSELF)] {
            // SAFETY: takes two numbers and changes the allocator's own settings, under its own lock.
            #[expect(unsafe_code, reason = "the allocator's settings have no safe form")]
            let is_done = unsafe { libc::mallopt(setting, value) } == 1;
            if !is_done {
                tracing::warn!(setting, value, "the allocator can't be bounded");
            }
        }
    }
}

/// Gives back what the allocator holds and nobody uses, so often and for ever.
pub async fn give_back(every: Duration) -> Infallible {
    loop {
        tokio::time::sleep(every).await;
        give_back_now();
    }
}

fn give_back_now() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: touches no memory that is allocated, and takes each arena's lock for its part of the work.
        #[expect(unsafe_code, reason = "what is freed has no safe way back to the system")]
        let _ = unsafe { libc::malloc_trim(0) };
    }
}

#[cfg(test)]
#[cfg(target_env = "gnu")]
mod tests {
    use super::*;

    /// Bytes of this process that belong to no file (proc_pid_status(5)).
    fn anonymous() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_freed_between_things_that_stay_is_given_back() {
        let mut blocks: Vec<Option<Box<[u8; 4096]>>> = (0..8192).map(|_| Some(Box::new([1; 4096]))).collect();
        let full = anonymous();
        blocks.iter_mut().filter(|block| block.is_some()).enumerate().for_each(|(at, block)| {
            // Every 64th stays, so that the heap can't shrink from its end.
            if at % 64 != 0 {
                *block = None;
            }
        });
        tokio::select! {
            never = give_back(Duration::from_secs(2)) => match never {},
            () = tokio::time::sleep(Duration::from_secs(3)) => {}
        }
        let left = anonymous();
        assert!(left + (20 << 20) < full, "{left} of {full} bytes");
        assert_eq!(blocks.iter().flatten().count(), 128);
    }
}
