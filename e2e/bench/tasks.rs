//! How many tasks are spawned per second, and how long one takes from the question to its end.

use std::time::Instant;

use super::figures::{report, say};
use super::{load, times};
use crate::harness::json::Fields as _;
use crate::harness::{Failed, Look, World, until};

const CONFIG: &str = r#"project "bench"
task "job" {
    image IMAGE(apps:1)
    command "exit"
    cpu 0.1
    memory "16M"
}
"#;

/// How long all of them may take.
const WITHIN: std::time::Duration = std::time::Duration::from_secs(300);

pub(super) fn spawned(world: &mut World) -> Result<(), Failed> {
    world.deploy_ok(CONFIG)?;
    let mut whole = vec![];
    for _ in 0..times(&world.machine, 5, 20) {
        whole.push(world.mill.ok(&["spawn", "job", "--wait"])?.took);
    }
    say(&format!("tasks ({})", load(world)))?;
    report("`mill spawn --wait` of one that ends at once", &whole)?;
    let count = times(&world.machine, 20, 100);
    let begun = Instant::now();
    let mut asked = vec![];
    for _ in 0..count {
        asked.push(world.mill.ok(&["spawn", "job"])?.took);
    }
    let took = begun.elapsed();
    report("`mill spawn`, until it returns", &asked)?;
    until("all have ended", WITHIN, || {
        let open = world.mill.json(&["ps", "--all"])?;
        let over = open.list("")?.iter().all(|task| task.is("/state", "succeeded"));
        Ok(if over { Look::Yes(()) } else { Look::No("some haven't".to_owned()) })
    })?;
    let ran = begun.elapsed();
    let per_second = |elapsed: std::time::Duration| count as f64 / elapsed.as_secs_f64();
    say(&format!(
        "{count} tasks one after the other: {:.1} asked for per second, {:.1} run to their end per second",
        per_second(took),
        per_second(ran)
    ))?;
    world.mill.ok(&["undeploy", "bench", "--yes"]).map(drop)
}
