//! Quantities as people read them.

use std::time::Duration;

use mill_model::image::DEFAULT_REGISTRY;
use mill_model::text::{scaled, transfer as transferred};
use mill_model::{Bytes, ImageRef, Millicores, Timestamp};

const SECONDS_PER_MINUTE: u64 = 60;
const SECONDS_PER_HOUR: u64 = 3600;
const SECONDS_PER_DAY: u64 = 24 * SECONDS_PER_HOUR;

/// How long ago: `3m ago`. A moment of the near future (two clocks) is now.
pub(crate) fn age(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.since(at).as_secs();
    match seconds {
        0 => "now".into(),
        1..SECONDS_PER_MINUTE => format!("{seconds}s ago"),
        SECONDS_PER_MINUTE..SECONDS_PER_HOUR => format!("{}m ago", seconds / SECONDS_PER_MINUTE),
        SECONDS_PER_HOUR..SECONDS_PER_DAY => format!("{}h ago", seconds / SECONDS_PER_HOUR),
        _ => format!("{}d ago", seconds / SECONDS_PER_DAY),
    }
}

/// How far off a moment is: `in 27d`, `in 2h 03m`.
pub(crate) fn ahead(at: Timestamp, now: Timestamp) -> String {
    let span = at.since(now);
    match span.as_secs() / SECONDS_PER_DAY {
        0 | 1 => format!("in {}", duration(span)),
        days => format!("in {days}d"),
    }
}

/// A span of time: `0.9s`, `12.3s`, `1m 05s`, `2h 03m`.
pub(crate) fn duration(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..SECONDS_PER_MINUTE => {
            let tenths = span.as_millis().saturating_add(50) / 100;
            format!("{}.{}s", tenths / 10, tenths % 10)
        }
        SECONDS_PER_MINUTE..SECONDS_PER_HOUR => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / SECONDS_PER_HOUR, seconds % SECONDS_PER_HOUR / 60),
    }
}

/// A short span of time in microseconds: `850µs`, `1.2ms`, `3.4s`.
pub(crate) fn micros(us: u64) -> String {
    match us {
        0..1_000 => format!("{us}µs"),
        1_000..1_000_000 => format!("{}.{}ms", us / 1_000, us % 1_000 / 100),
        _ => duration(Duration::from_micros(us)),
    }
}

/// Memory, 1024-based as in the config: `512M`, `1.5G`.
pub(crate) fn memory(bytes: Bytes) -> String {
    scaled(bytes.0, 1024, ["", "K", "M", "G", "T"])
}

/// Cores in use, to the hundredth: `0.05`, `1.25`. What is measured isn't more exact.
pub(crate) fn cores(used: Millicores) -> String {
    Millicores(used.0.saturating_add(5) / 10 * 10).to_string()
}

/// What goes over a network: `48 MB`.
pub(crate) fn transfer(bytes: u64) -> String {
    transferred(bytes)
}

/// `one node`, `3 nodes`.
pub(crate) fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

/// How much of `all` is `done`, 0 to 100.
pub(crate) fn percent_of(done: u64, all: u64) -> u64 {
    match all {
        0 => 0,
        _ => u64::try_from(u128::from(done.min(all)) * 100 / u128::from(all)).unwrap_or(100),
    }
}

/// An image as people call it: without the default registry, and without its digest where it has a tag.
pub(crate) fn image(image: &ImageRef) -> String {
    let repository = match image.registry.as_str() {
        DEFAULT_REGISTRY => image.repository.strip_prefix("library/").unwrap_or(&image.repository).to_owned(),
        registry => format!("{registry}/{}", image.repository),
    };
    match (&image.tag, &image.digest) {
        (Some(tag), _) => format!("{repository}:{tag}"),
        (None, Some(digest)) => format!("{repository}@{}", digest.hex().get(..12).unwrap_or(digest.hex())),
        (None, None) => repository,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_one_unit() {
        let now = Timestamp(1_000_000_000);
        for (seconds, text) in [
            (0, "now"),
            (59, "59s ago"),
            (60, "1m ago"),
            (3599, "59m ago"),
            (7200, "2h ago"),
            (86_400 * 3, "3d ago"),
        ] {
            assert_eq!(age(Timestamp(now.0 - seconds * 1000), now), text);
        }
        assert_eq!(age(now.after(Duration::from_secs(5)), now), "now");
    }

    #[test]
    fn spans_are_as_exact_as_they_matter() {
        for (ms, text) in [
            (0, "0.0s"),
            (49, "0.0s"),
            (50, "0.1s"),
            (2_700, "2.7s"),
            (59_949, "59.9s"),
            (65_000, "1m 05s"),
            (7_380_000, "2h 03m"),
        ] {
            assert_eq!(duration(Duration::from_millis(ms)), text);
        }
        for (us, text) in [(0, "0µs"), (999, "999µs"), (1_250, "1.2ms"), (3_400_000, "3.4s")] {
            assert_eq!(micros(us), text);
        }
    }

    #[test]
    fn sizes_have_at_most_three_digits() {
        for (bytes, of_memory, of_transfer) in [
            (0, "0", "0 B"),
            (999, "999", "999 B"),
            (48_000_000, "45.7M", "48 MB"),
            (512 << 20, "512M", "536 MB"),
            (3 << 29, "1.5G", "1.6 GB"),
            (u64::MAX, "16777215T", "18446744 TB"),
        ] {
            assert_eq!(memory(Bytes(bytes)), of_memory);
            assert_eq!(transfer(bytes), of_transfer);
        }
        assert_eq!(percent_of(1, 0), 0);
        assert_eq!(percent_of(u64::MAX, u64::MAX), 100);
        assert_eq!(percent_of(9, 3), 100);
    }

    #[test]
    fn cores_in_use_have_at_most_two_digits_behind_the_point() {
        for (millis, text) in [(0, "0"), (4, "0"), (5, "0.01"), (189, "0.19"), (200, "0.2"), (1254, "1.25")] {
            assert_eq!(cores(Millicores(millis)), text);
        }
    }

    #[test]
    fn images_are_called_as_people_call_them() {
        let hex = "a".repeat(64);
        for (full, short) in [
            (format!("nginx:1.27@sha256:{hex}"), "nginx:1.27"),
            (format!("nginx@sha256:{hex}"), "nginx@aaaaaaaaaaaa"),
            ("r.example:5000/team/web:v1".to_owned(), "r.example:5000/team/web:v1"),
            ("bitnami/redis".to_owned(), "bitnami/redis:latest"),
        ] {
            assert_eq!(image(&full.parse().unwrap()), short);
        }
    }
}
