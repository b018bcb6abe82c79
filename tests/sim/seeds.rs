//! Seeds that have failed, played first, whatever is asked for. A seed tells the same story only as long as the
//! simulation draws in the same order, so these may tell others by now: what keeps each bug away is a test of its own,
//! in its room.

/// With what each has found.
pub(crate) const REGRESSIONS: &[(u64, &str)] = &[
    (1, "a rollback lowered the count that it was to keep"),
    (5, "a node with an old record was never believed again"),
    (7, "a number was given again while its holder was stopping"),
    (57, "rot in the log was cut off like a torn tail"),
    (77, "a container's name was given again after its record was lost"),
    (87, "a number that a full disk kept out of the record was used again"),
    (91, "an end that wasn't written down was told, and the next daemon began it again"),
    (227, "an alloc whose record was lost counted as stopped while it ran"),
    (411, "a task whose record was lost ran twice"),
    (501, "a node swept its containers away before it knew what was wanted"),
    (1376, "what served was stopped after a rollback that took too long"),
    (6597, "a task ran twice whose container somebody removed before it was written down that it ran"),
    (9590, "a task ran twice whose record was lost before anybody heard of it"),
    (17471, "what a record said that could not be read at first was never told"),
];
