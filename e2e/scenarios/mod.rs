//! The stories: one file per theme, each story a function that fails with what it saw.

use std::path::Path;

use crate::harness::{Booted, Failed, Machine, World};

mod absence;
mod access;
mod ahead;
mod api;
mod bad_registries;
mod bad_versions;
mod checks;
mod clean;
mod crash_loop;
mod day;
mod disks;
mod endurance;
mod every_actor;
mod exec;
mod hello;
mod init;
mod killed;
mod kills;
mod machine;
mod mapped;
mod memory;
mod order;
mod refusals;
mod registries;
mod secrets;
mod seen;
mod stolen;
mod systemd;
mod tasks;
mod time_jumps;
mod typing;
mod unmodified;

/// Something that Mill does for its users, from end to end.
#[derive(Debug)]
pub struct Story {
    /// What it is called on the command line.
    pub name: &'static str,
    /// Whether others wait for its end.
    pub pace: Pace,
    /// Tells it.
    pub tell: Tell,
}

/// How a story passes its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// It works, and wants the machine for itself.
    Brisk,
    /// It takes its time and doesn't mind company: others are told meanwhile.
    Patient,
}

/// What a story needs to be told.
#[derive(Debug)]
pub enum Tell {
    /// A machine alone: it is about the harness itself.
    Machine(fn(&mut Machine) -> Result<(), Failed>),
    /// A machine with a node on it.
    Node(fn(&mut World) -> Result<(), Failed>),
    /// The same, its address one of the network's and not of the loopback device's.
    Addressed(fn(&mut World) -> Result<(), Failed>),
    /// A machine with a node on it, where the kernel gives the node no BPF: programs must obey `PORT`.
    Unmapped(fn(&mut World) -> Result<(), Failed>),
    /// A node whose actors panic to order: its program is built with the feature `faults`.
    Faulty(fn(&mut World) -> Result<(), Failed>),
    /// A whole machine under systemd beside it, and Mill's package.
    Booted(fn(&Machine, Booted, &Path) -> Result<(), Failed>),
}

/// All of them, quick ones first.
pub const STORIES: &[Story] = &[
    machine::ITSELF,
    hello::DEPLOYS,
    hello::UNCHANGED,
    hello::ROLLS,
    hello::REPLICAS,
    order::DEPENDENCIES,
    order::PROJECTS,
    checks::CHECKS,
    day::DAY,
    exec::EXEC,
    tasks::TASKS,
    typing::TYPING,
    init::INIT,
    access::ROLES,
    stolen::STOLEN,
    registries::LOGIN,
    api::DESCRIBED,
    api::OUTLIVES,
    absence::SIGTERM,
    refusals::CONFIGS,
    refusals::REQUESTS,
    secrets::SECRETS,
    clean::CLEAN,
    mapped::PORTS,
    mapped::NO_BPF,
    unmodified::NGINX_REDIS,
    unmodified::CLASH,
    seen::SLOW_REGISTRY,
    ahead::IMAGES_FIRST,
    seen::USAGE,
    every_actor::ACTORS,
    killed::KILLED,
    killed::OWN,
    disks::FULL,
    disks::FAILS,
    disks::SLOW,
    memory::MEMORY,
    time_jumps::TIME,
    bad_registries::FAULTS,
    crash_loop::LOOP,
    crash_loop::FORGIVEN,
    bad_versions::ROLL_BACK,
    kills::KILLS,
    endurance::HUNDRED,
    endurance::LIVES,
    systemd::SYSTEMD,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_story_has_a_name_of_its_own() {
        let names: BTreeSet<&str> = STORIES.iter().map(|story| story.name).collect();
        assert_eq!(names.len(), STORIES.len());
    }
}
