//! One binary for every test that needs more than one room, so that they link once.

#![cfg(test)]

mod cluster;
mod tidy;
