//! A deploy of an image that is there, until it is healthy, beside `ctr run` of the same until its program answers.

use std::time::Duration;

use serde_json::Value;

use super::figures::{beside, report, say};
use super::peers::{self, Limits};
use super::{load, times};
use crate::harness::failed::expect;
use crate::harness::json::Fields as _;
use crate::harness::{Context as _, Failed, Look, World, until};

/// How long an undeployed container may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(30);

/// As the config below has it.
const LIMITS: Limits = Limits { cpu: "0.5", memory: "33554432" };

/// A text that differs from round to round makes each a version of its own.
fn config(round: usize) -> String {
    format!(
        r#"project "bench"
service "web" {{
    image IMAGE(hello:v1)
    port 8080
    cpu 0.5
    memory "32M"
    env {{ ROUND "{round}" }}
    health path="/health" interval="1s"
}}
"#
    )
}

pub(super) fn cached_image(world: &mut World) -> Result<(), Failed> {
    let image = world.machine.image("hello:v1");
    peers::pull(&image)?;
    let file = world.write("bench.kdl", &config(0))?;
    world.mill.ok(&["deploy", "-f", &file])?;
    undeploy(world)?;
    let mut took = Took::default();
    for round in 1..=times(&world.machine, 8, 60) {
        let file = world.write("bench.kdl", &config(round))?;
        let ran = world.mill.ok(&["deploy", "-f", &file])?;
        expect(ran.all().contains("deployed bench"), "the deploy succeeds", &ran)?;
        took.returned.push(ran.took);
        took.note(&world.mill.json(&["events"])?)?;
        undeploy(world)?;
        let (returned, answers) = peers::run(&image, 0, LIMITS)?;
        took.ctr_returned.push(returned);
        took.ctr_answers.push(answers);
        peers::end(0)?;
    }
    say(&format!("deploy of a cached image ({})", load(world)))?;
    let ctr = ("`ctr run` until its program answers", took.ctr_answers.as_slice());
    beside(("`mill deploy`, one service with a health check, until it returns", &took.returned), ctr)?;
    beside(("in the cluster, from asked for to healthy", &took.healthy), ctr)?;
    report("    of that, from asked for to placed", &took.placed)?;
    report("    of that, from placed to running", &took.running)?;
    report("    of that, from running to healthy", &took.checked)?;
    report("from healthy to the deploy's end", &took.ended)?;
    report("`ctr run` until it returns", &took.ctr_returned)
}

fn undeploy(world: &World) -> Result<(), Failed> {
    world.mill.ok(&["undeploy", "-y", "bench"])?;
    until("nothing of it is left", GONE_WITHIN, || {
        let allocs = world.allocs("bench", "web")?;
        Ok(Look::at(allocs.is_empty(), allocs))
    })
}

#[derive(Default)]
struct Took {
    returned: Vec<Duration>,
    placed: Vec<Duration>,
    running: Vec<Duration>,
    checked: Vec<Duration>,
    healthy: Vec<Duration>,
    ended: Vec<Duration>,
    ctr_returned: Vec<Duration>,
    ctr_answers: Vec<Duration>,
}

impl Took {
    /// Notes when what happened in the newest deploy, by the cluster's own clock.
    fn note(&mut self, events: &Value) -> Result<(), Failed> {
        let events = events.list("")?;
        let last =
            events.iter().rev().find(|event| event.is("/kind", "deploy_succeeded")).or_fail("its end")?;
        let deploy = last.number("/deploy")?;
        let of_it: Vec<&Value> =
            events.iter().filter(|event| event.number("/deploy").is_ok_and(|of| of == deploy)).collect();
        let at = |kind: &str| {
            let event = of_it.iter().find(|event| event.is("/kind", kind));
            moment(event.or_fail(format_args!("no {kind} among {of_it:#?}"))?.text("/at")?)
        };
        let asked = at("deploy_queued")?;
        let (placed, running) = (at("alloc_placed")?, at("alloc_running")?);
        let (healthy, ended) = (at("alloc_healthy")?, at("deploy_succeeded")?);
        self.placed.push(placed.saturating_sub(asked));
        self.running.push(running.saturating_sub(placed));
        self.checked.push(healthy.saturating_sub(running));
        self.healthy.push(healthy.saturating_sub(asked));
        self.ended.push(ended.saturating_sub(healthy));
        Ok(())
    }
}

/// The time of day in `2026-11-21T15:20:13.123Z`. A deploy over midnight has no length.
fn moment(text: &str) -> Result<Duration, Failed> {
    let parse = || {
        let time = text.split_once('T')?.1.strip_suffix('Z')?;
        let mut parts = time.split(':');
        let (hours, minutes) = (parts.next()?.parse::<u64>().ok()?, parts.next()?.parse::<u64>().ok()?);
        let seconds = parts.next()?.parse::<f64>().ok()?;
        Some(Duration::from_secs(hours * 3600 + minutes * 60) + Duration::try_from_secs_f64(seconds).ok()?)
    };
    parse().or_fail(format_args!("no time: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_to_the_millisecond() {
        let moment = moment("2026-11-21T15:20:13.125Z").unwrap();
        assert_eq!(moment, Duration::from_millis(((15 * 60 + 20) * 60 + 13) * 1000 + 125));
        assert!(super::moment("yesterday").is_err());
    }
}
