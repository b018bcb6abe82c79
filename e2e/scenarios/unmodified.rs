//! Programs that never heard of Mill, and programs that ignore `PORT` (product.md §4, without the kernel's mapping).

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::{Pace, Story, Tell};
use crate::harness::failed::expect;
use crate::harness::{Context as _, Failed, Look, World, http, until};

pub(super) const NGINX_REDIS: Story =
    Story { name: "unmodified_nginx_redis", pace: Pace::Brisk, tell: Tell::Unmapped(nginx_and_redis) };
pub(super) const CLASH: Story = Story { name: "port_clash", pace: Pace::Brisk, tell: Tell::Unmapped(clash) };

/// It is looked for as soon as it is healthy.
const SEEN_WITHIN: Duration = Duration::from_secs(10);

const CONFIG: &str = r#"project "stock"
service "nginx" {
    image IMAGE(nginx-light:debian)
    port 80
    cpu 0.2
    memory "64M"
    health path="/" interval="1s"
}
service "redis" {
    image IMAGE(redis-server:debian)
    port 6379
    cpu 0.2
    memory "64M"
    health tcp=#true interval="1s"
}
"#;

fn nginx_and_redis(world: &mut World) -> Result<(), Failed> {
    world.deploy_ok(CONFIG)?;
    world.settled("stock", "nginx", 1)?;
    world.settled("stock", "redis", 1)?;
    let nginx = reached_at(world, "nginx", 80)?;
    let page = http::get(nginx, "/")?;
    expect(
        page.status == 200 && page.body.contains("Welcome to nginx"),
        "nginx serves its first page",
        &page,
    )?;
    let redis = reached_at(world, "redis", 6379)?;
    let mut redis = TcpStream::connect(redis).or_fail("redis")?;
    redis.write_all(b"SET word mill\r\nGET word\r\nQUIT\r\n").or_fail("redis")?;
    let mut answer = String::new();
    redis.read_to_string(&mut answer).or_fail("redis")?;
    expect(answer == "+OK\r\n$4\r\nmill\r\n+OK\r\n", "redis keeps a word", &answer)
}

/// Where Mill says that the service is reached: on the port that its program binds, since it ignores `PORT`.
fn reached_at(world: &World, service: &str, port: u16) -> Result<SocketAddr, Failed> {
    until("Mill has seen where it listens", SEEN_WITHIN, || {
        let services = world.mill.json(&["services"])?;
        let of = |one: &&serde_json::Value| one["name"] == service;
        let found = services.as_array().and_then(|all| all.iter().find(of));
        let address = found.and_then(|one| one["endpoints"][0]["address"].as_str());
        let address = address.and_then(|address| address.parse::<SocketAddr>().ok());
        match address.filter(|address| address.port() == port) {
            Some(address) => Ok(Look::Yes(address)),
            None => Ok(Look::No(services.to_string())),
        }
    })
}

/// Listens on 7000 whatever `PORT` says.
fn stubborn(replicas: u32) -> String {
    format!(
        r#"project "clash"
service "fixed" {{
    image IMAGE(apps:1)
    command "hello"
    port 7000
    replicas {replicas}
    cpu 0.1
    memory "32M"
    env {{ BIND_PORT "7000" }}
    health path="/health" interval="500ms" start-period="2s"
    update deadline="1m"
}}
"#
    )
}

fn clash(world: &mut World) -> Result<(), Failed> {
    let held = world.held()?;
    let ran = world.deploy(&stubborn(2))?;
    expect(ran.code == 1, "two programs can't have one port", &ran)?;
    let text = ran.all();
    let named = text.contains("port 7000 is taken by") && text.contains("fixed-");
    expect(named, "the complaint names the port and who holds it", &ran)?;
    world.holds_again(&held)?;
    world.deploy_ok(&stubborn(1))?;
    world.settled("clash", "fixed", 1).map(drop)
}
