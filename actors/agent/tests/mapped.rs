use mill_drivers::containers::Launch;
use mill_drivers::datapath::Mapping;
use mill_drivers::probes::Answer;

use super::*;

/// What the last container was started with: `PORT`, and how its ports are mapped.
fn last(world: &World) -> (String, Option<Mapping>) {
    let Launch { env, mapping, .. } = world.fakes.containers.started().pop().unwrap();
    let port = env.into_iter().find(|(name, _)| name == "PORT").unwrap().1;
    (port, mapping)
}

#[tokio::test(start_paused = true)]
async fn where_the_kernel_maps_ports_a_program_is_told_what_it_declares() {
    let mut world = World::new().await;
    world.fakes.datapath.be_able();
    world.restart_daemon(secs(1)).await;
    world.run(assignment(http())).await;
    let mapped = world.mapped().await;
    world.listens(1, mapped, Some(Answer::Well));
    world.reach(Phase::Healthy).await;
    let (port, mapping) = last(&world);
    let mapping = mapping.unwrap();
    assert_eq!((port.as_str(), mapping.loopback.0.get()), ("80", 1));
    assert_eq!(mapping.to_string(), format!("1 tcp/80={mapped}"));

    // Its next run too, after whatever happened to the daemon.
    world.restart_daemon(secs(1)).await;
    world.fakes.containers.end(&container(1), 7);
    world.listens(2, mapped, Some(Answer::Well));
    until("it runs again", async || world.started() == [1, 2]).await;
    assert_eq!(last(&world), (port, Some(mapping)));
}

#[tokio::test(start_paused = true)]
async fn an_alloc_from_before_the_kernel_could_lives_on_as_it_was() {
    let mut world = World::new().await;
    world.run(assignment(http())).await;
    let mapped = world.mapped().await;
    world.listens(1, mapped, Some(Answer::Well));
    world.reach(Phase::Healthy).await;
    world.fakes.datapath.be_able();
    world.restart_daemon(secs(1)).await;
    world.fakes.containers.end(&container(1), 7);
    world.listens(2, mapped, Some(Answer::Well));
    until("it runs again", async || world.started() == [1, 2]).await;
    assert_eq!(last(&world), (mapped.to_string(), None));
}

#[tokio::test(start_paused = true)]
async fn a_program_whose_ports_are_mapped_is_never_said_to_clash() {
    let mut world = World::new().await;
    world.fakes.datapath.be_able();
    world.restart_daemon(secs(1)).await;
    // The node's own web server.
    world.fakes.sockets.container_listens(&"other-2222.1".parse().unwrap(), 80);
    world.script(ends(secs(1), 1));
    world.run(assignment(plain())).await;
    let status = world.hear(Phase::Waiting, 1).await;
    assert_eq!(failure(&status), Some(Failure::Exited { code: 1 }));
}
