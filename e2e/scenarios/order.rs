//! What waits for what, and what doesn't know of each other.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Pace, Story, Tell};
use crate::harness::failed::expect;
use crate::harness::json::Fields as _;
use crate::harness::{Failed, World};

pub(super) const DEPENDENCIES: Story =
    Story { name: "dependency_order_with_task", pace: Pace::Brisk, tell: Tell::Node(dependencies) };
pub(super) const PROJECTS: Story =
    Story { name: "two_projects", pace: Pace::Brisk, tell: Tell::Node(projects) };

/// A database that takes a second and a half to be healthy, a migration, and a server that needs both.
fn shop(migration_code: u8, web_version: &str) -> String {
    format!(
        r#"project "shop"
service "web" {{
    image IMAGE(apps:1)
    command "hello"
    port 3000
    cpu 0.1
    memory "32M"
    env {{ VERSION "{web_version}" }}
    health path="/health" interval="1s"
    depends-on "db" "migrate"
}}
service "db" {{
    image IMAGE(apps:1)
    command "hello"
    port 5432
    cpu 0.1
    memory "32M"
    env {{ HEALTHY_AFTER_MS "1500" }}
    health path="/health" interval="1s"
}}
task "migrate" {{
    image IMAGE(apps:1)
    command "exit"
    cpu 0.1
    memory "32M"
    env {{
        AFTER_MS "700"
        CODE "{migration_code}"
    }}
    timeout "1m"
}}
"#
    )
}

fn dependencies(world: &mut World) -> Result<(), Failed> {
    let failed = world.deploy(&shop(1, "v1"))?;
    expect(failed.code == 1, "a failed migration fails the deploy", &failed)?;
    expect(world.allocs("shop", "web")?.is_empty(), "what depends on it isn't started", &failed)?;

    world.deploy_ok(&shop(0, "v1"))?;
    world.settled("shop", "web", 1)?;
    let web = world.moment("shop/web", "hello started")?;
    let db = world.moment("shop/db", "hello started")?;
    let migrated = world.moment("shop/migrate", "ending")?;
    expect(web >= db + 1500, "the server starts when the database is healthy", (web, db))?;
    expect(web >= migrated, "the server starts when the migration is done", (web, migrated))?;

    world.deploy_ok(&shop(0, "v1"))?;
    let again = world.moment("shop/migrate", "ending")?;
    expect(again == migrated, "the same file migrates nothing", (again, migrated))?;
    let db_before = world.settled("shop", "db", 1)?;
    world.deploy_ok(&shop(0, "v2"))?;
    let with_new_web = world.moment("shop/migrate", "ending")?;
    expect(
        with_new_web > migrated,
        "a task runs again when what waits for it changed",
        (with_new_web, migrated),
    )?;
    let db_after = world.settled("shop", "db", 1)?;
    let id = |allocs: &[Value]| allocs.first().map_or(Value::Null, |alloc| alloc["id"].clone());
    expect(id(&db_before) == id(&db_after), "the database wasn't touched", (&db_before, &db_after))
}

fn site(project: &str, version: &str) -> String {
    format!(
        r#"project "{project}"
service "web" {{
    image IMAGE(apps:1)
    command "hello"
    port 3000
    cpu 0.1
    memory "32M"
    env {{ VERSION "{version}" }}
    health path="/health" interval="1s"
}}
"#
    )
}

/// Everything about a project's allocs that a deploy of another project must leave alone.
fn shape(world: &World, project: &str) -> Result<BTreeMap<String, (u64, u64)>, Failed> {
    let allocs = world.settled(project, "web", 1)?;
    let row = |alloc: &Value| {
        Ok((alloc.text("/id")?.to_owned(), (alloc.number("/incarnation")?, alloc.number("/ports/0/mapped")?)))
    };
    allocs.iter().map(row).collect()
}

fn projects(world: &mut World) -> Result<(), Failed> {
    world.deploy_ok(&site("shop", "v1"))?;
    world.deploy_ok(&site("blog", "v1"))?;
    let shop = shape(world, "shop")?;
    let blog = shape(world, "blog")?;
    world.deploy_ok(&site("shop", "v2"))?;
    expect(shape(world, "blog")? == blog, "a deploy of shop leaves blog alone", &blog)?;
    expect(shape(world, "shop")? != shop, "shop has its new version", &shop)?;
    let ambiguous = world.mill.run(&["logs", "web"])?;
    expect(
        ambiguous.code != 0 && ambiguous.err.contains("shop/web") && ambiguous.err.contains("blog/web"),
        "a name that means two services is refused with both",
        &ambiguous,
    )?;
    world.mill.ok(&["undeploy", "shop", "--yes"])?;
    expect(shape(world, "blog")? == blog, "an undeploy of shop leaves blog alone", &blog)?;
    expect(world.allocs("shop", "web")?.is_empty(), "shop is gone", world.mill.json(&["allocs"])?)
}
