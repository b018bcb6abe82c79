//! Writes: each becomes a command, or is refused in words.
