//! What was played, counted: a simulation that plays nothing passes too.

use std::fmt;
use std::ops::AddAssign;

macro_rules! tally {
    ($($field:ident: $words:literal,)*) => {
        /// Counts of one story, or of many.
        #[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
        pub(crate) struct Tally {
            $(#[doc = $words] pub(crate) $field: u64,)*
        }

        impl AddAssign for Tally {
            fn add_assign(&mut self, other: Self) {
                $(self.$field += other.$field;)*
            }
        }

        impl Tally {
            /// Each count with its name.
            pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$(($words, self.$field)),*].into_iter()
            }
        }
    };
}

tally! {
    deploys: "deploys",
    secrets: "secrets set",
    rolls: "secrets rolled",
    secrets_kept: "secrets kept from being deleted",
    pinned: "containers with secrets",
    spawned: "tasks spawned",
    killed: "tasks killed",
    timed_out: "tasks timed out",
    containers: "containers run",
    crashes: "crashes of the daemon",
    power_losses: "power losses",
    actor_crashes: "crashes of actors",
    session_losses: "sessions lost",
    leaderless: "stretches without a leader",
    full_disks: "full or read-only disks",
    disk_faults: "other faults of the log's disk",
    records_refused: "records refused",
    records_damaged: "records damaged",
    rots: "bits of the log flipped",
    refusals: "logs refused by name",
    clock_jumps: "clock jumps",
    vanished: "containers that vanished",
    runtime_absences: "absences of the runtime",
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("played:")?;
        for (index, (words, count)) in self.counts().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma} {count} {words}")?;
        }
        Ok(())
    }
}
