//! How long a program takes that is executed in a container, beside `ctr tasks exec` of the same.

use super::figures::{beside, report, say};
use super::{load, times};
use crate::harness::containerd::ctr;
use crate::harness::json::Fields as _;
use crate::harness::{Context as _, Failed, World};

const CONFIG: &str = r#"project "bench"
service "web" {
    image IMAGE(apps:1)
    command "sleeper"
    cpu 1
    memory "64M"
}
"#;

pub(super) fn latency(world: &mut World) -> Result<(), Failed> {
    world.deploy_ok(CONFIG)?;
    let alloc = world.settled("bench", "web", 1)?.pop().or_fail("one alloc")?;
    let name = format!("{}.{}", alloc.text("/id")?, alloc.number("/incarnation")?);
    let (mut ours, mut theirs, mut bare) = (vec![], vec![], vec![]);
    for round in 0..times(&world.machine, 20, 100) {
        ours.push(world.mill.ok(&["exec", "web", "--", "/bin/sh", "-c", "exit 0"])?.took);
        let begun = std::time::Instant::now();
        ctr(&["tasks", "exec", "--exec-id", &format!("bench-{round}"), &name, "/bin/sh", "-c", "exit 0"])?;
        theirs.push(begun.elapsed());
        bare.push(world.mill.ok(&["--version"])?.took);
    }
    say(&format!("a program executed in a container ({})", load(world)))?;
    beside(("`mill exec`, until it returns", &ours), ("`ctr tasks exec`", &theirs))?;
    report("    of that, a `mill` that does nothing", &bare)?;
    world.mill.ok(&["undeploy", "bench", "--yes"]).map(drop)
}
