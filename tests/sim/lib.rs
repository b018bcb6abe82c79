//! Tests of single machines on fakes that break. The whole stack together is played by this crate's program.

#[cfg(test)]
mod replica;
