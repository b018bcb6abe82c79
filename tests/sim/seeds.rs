//! Seeds that once found a bug. They are played first, whatever is asked for.

/// With what each found.
pub(crate) const REGRESSIONS: &[(u64, &str)] = &[];
