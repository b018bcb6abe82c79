//! What binding and connecting cost in a container of Mill's, beside one that nobody maps.

use super::figures::say;
use super::{load, times};
use crate::harness::containerd::ctr_of;
use crate::harness::failed::expect;
use crate::harness::json::Fields as _;
use crate::harness::world::SETTLES_WITHIN;
use crate::harness::{Failed, Look, World, until};

/// Somebody else's namespace: what runs there is in no cgroup of Mill's.
const THEIRS: &str = "default";

fn config(rounds: usize) -> String {
    format!(
        r#"project "bench"
service "sockets" {{
    image IMAGE(apps:1)
    command "sockets"
    port 7000 protocol="udp"
    cpu 1
    memory "64M"
    env {{ ROUNDS "{rounds}"; SIDE_PORT "7001" }}
}}
"#
    )
}

/// Both, one after the other, twice: a machine that gets busier shows.
pub(super) fn bind_and_connect(world: &mut World) -> Result<(), Failed> {
    let rounds = times(&world.machine, 200, 2_000);
    say(&format!("sockets: {}", load(world)))?;
    let image = world.machine.image("apps:1");
    ctr_of(THEIRS, &["images", "pull", "--plain-http", &image])?;
    for turn in ["first", "again"] {
        let name = format!("theirs-{turn}");
        let settings = format!("ROUNDS={rounds}");
        let options = ["run", "--detach", "--net-host", "--env", "PORT=7000", "--env", &settings];
        let log = world.machine.folder.join(&name);
        let uri = format!("file://{}", log.display());
        ctr_of(THEIRS, &[&options[..], &["--log-uri", &uri, &image, &name, "/apps", "sockets"]].concat())?;
        let text = until("theirs has measured", SETTLES_WITHIN, || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            Ok(if text.contains("measured") { Look::Yes(text) } else { Look::No(text) })
        })?;
        ctr_of(THEIRS, &["tasks", "kill", "--signal", "SIGKILL", &name])?;
        tell("not mapped", text.lines())?;

        world.deploy_ok(&config(rounds))?;
        let lines = until("Mill's has measured", SETTLES_WITHIN, || {
            // Of the one that lives: the service's log has the turns before as well.
            let allocs = world.allocs("bench", "sockets")?;
            let lines = allocs.first().map_or(Ok(vec![]), |alloc| world.log(alloc.text("/id")?))?;
            let done = lines.iter().any(|line| line == "measured");
            Ok(if done { Look::Yes(lines) } else { Look::No(lines.concat()) })
        })?;
        tell("mapped", lines.iter().map(String::as_str))?;
        world.mill.ok(&["undeploy", "bench", "--yes"])?;
    }
    Ok(())
}

fn tell<'a>(how: &str, lines: impl Iterator<Item = &'a str>) -> Result<(), Failed> {
    let figures: Vec<&str> = lines.filter(|line| line.contains(" ns [")).collect();
    expect(figures.len() >= 5, "five kinds of calls were measured", &figures)?;
    figures.iter().try_for_each(|line| say(&format!("    {how}: {line}")))
}
