//! Waiting for a state: the one place of the stories that sleeps.

use std::thread;
use std::time::{Duration, Instant};

use super::Failed;

/// Pause between two looks: short beside what is waited for, long beside what a look costs.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// Pause where the wait itself is measured.
const LOOK_CLOSELY_EVERY: Duration = Duration::from_millis(1);

/// What a look found.
pub enum Look<T> {
    /// It is so.
    Yes(T),
    /// Not yet; this was seen instead.
    No(String),
}

impl Look<()> {
    /// `Yes` if it holds, else what was seen.
    pub fn at(holds: bool, seen: impl std::fmt::Debug) -> Self {
        match holds {
            true => Self::Yes(()),
            false => Self::No(format!("{seen:?}")),
        }
    }
}

/// Looks until it is so.
///
/// # Errors
/// It isn't within `deadline`: says what was waited for and what the last look saw. An error of the look itself
/// counts as something seen, since a daemon that is killed and restarted refuses connections for a moment.
pub fn until<T>(
    what: &str,
    deadline: Duration,
    look: impl FnMut() -> Result<Look<T>, Failed>,
) -> Result<T, Failed> {
    look_every(LOOK_EVERY, what, deadline, look)
}

/// Looks until it is so, every millisecond: where the time until then is what is measured.
///
/// # Errors
/// As [`until`].
pub fn closely<T>(
    what: &str,
    deadline: Duration,
    look: impl FnMut() -> Result<Look<T>, Failed>,
) -> Result<T, Failed> {
    look_every(LOOK_CLOSELY_EVERY, what, deadline, look)
}

fn look_every<T>(
    pause: Duration,
    what: &str,
    deadline: Duration,
    mut look: impl FnMut() -> Result<Look<T>, Failed>,
) -> Result<T, Failed> {
    let begun = Instant::now();
    loop {
        let seen = match look() {
            Ok(Look::Yes(found)) => return Ok(found),
            Ok(Look::No(seen)) => seen,
            Err(error) => error.to_string(),
        };
        if begun.elapsed() >= deadline {
            return Err(Failed::because(format!("not within {deadline:?}: {what}\n    last seen: {seen}")));
        }
        thread::sleep(pause);
    }
}

/// Lets time pass where the passing itself is what is tested: a rate, a share of a processor, a random moment.
pub fn let_pass(time: Duration) {
    thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn until_returns_what_was_found_and_fails_with_what_was_seen() {
        let mut looks = 0;
        let found = until("three looks", Duration::from_secs(5), || {
            looks += 1;
            Ok(if looks == 3 { Look::Yes(looks) } else { Look::No(looks.to_string()) })
        });
        assert_eq!(found.unwrap(), 3);
        let failed = until::<()>("rain", Duration::ZERO, || Ok(Look::No("sun".to_owned()))).unwrap_err();
        let text = failed.to_string();
        assert!(text.contains("rain") && text.contains("sun"), "{text}");
        let failed = until::<()>("rain", Duration::ZERO, || Err(Failed::because("fog"))).unwrap_err();
        assert!(failed.to_string().contains("fog"));
    }
}
