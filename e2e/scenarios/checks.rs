//! Checks of each kind see a program that is well, one that falls ill, and the one that is started in its place; and
//! what has no check but a UDP port is reached (product.md §2, §3).

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use serde_json::Value;

use super::{Pace, Story, Tell};
use crate::harness::containerd::pid_of;
use crate::harness::failed::expect;
use crate::harness::json::Fields as _;
use crate::harness::world::{SETTLES_WITHIN, endpoint};
use crate::harness::{Context as _, Failed, Look, World, until};

pub(super) const CHECKS: Story =
    Story { name: "checks_of_each_kind", pace: Pace::Brisk, tell: Tell::Node(checks) };

/// A service, how it is checked, and what its check says when it is ill.
struct Checked {
    name: &'static str,
    program: &'static str,
    health: &'static str,
    says: &'static str,
}

const CHECKED: &[Checked] = &[
    Checked { name: "http", program: "hello", health: "path=\"/health\"", says: "503" },
    Checked { name: "tcp", program: "tcp", health: "tcp=#true", says: "it doesn't listen on port" },
    Checked { name: "grpc", program: "grpc-health", health: "grpc=#true", says: "NOT_SERVING" },
    Checked {
        name: "exec",
        program: "hello",
        health: "exec=\"/bin/sh -c 'test ! -e /tmp/ill || { echo it has a cold; exit 3; }'\"",
        says: "exited with code 3: it has a cold",
    },
];

fn config() -> String {
    let service = |name: &str, program: &str, more: &str| {
        format!(
            "service \"{name}\" {{\n    image IMAGE(apps:1)\n    command \"{program}\"\n    cpu 0.1\n    memory \"32M\"\n    stop drain=\"100ms\"\n    {more}\n}}\n"
        )
    };
    let checked = CHECKED.iter().map(|checked| {
        let health = format!("port 3000\n    health {} interval=\"300ms\" retries=2", checked.health);
        service(checked.name, checked.program, &health)
    });
    let udp = service("udp", "udp-echo", "port 5353 protocol=\"udp\"");
    format!("project \"shop\"\n{}{udp}", checked.collect::<String>())
}

fn checks(world: &mut World) -> Result<(), Failed> {
    let held = world.held()?;
    world.deploy_ok(&config())?;
    let full = world.held()?;
    echo(world)?;
    for checked in CHECKED {
        fall_ill(&only(world, checked.name)?)?;
    }
    for checked in CHECKED {
        seen(world, checked).or_fail(checked.name)?;
    }
    world.holds_again(&full)?;
    world.mill.ok(&["undeploy", "shop", "--yes"])?;
    world.holds_again(&held)
}

/// The one alloc of a service, healthy.
fn only(world: &World, service: &str) -> Result<Value, Failed> {
    world.settled("shop", service, 1)?.pop().or_fail("one alloc")
}

/// The datagrams of a service that nobody checks come back from its mapped port.
fn echo(world: &World) -> Result<(), Failed> {
    let alloc = only(world, "udp")?;
    let port = alloc.at("/ports/0/declared")?;
    expect(port.is("/protocol", "udp") && port.number("/number")? == 5353, "a UDP port", port)?;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).or_fail("a socket")?;
    socket.set_read_timeout(Some(Duration::from_secs(1))).or_fail("a socket")?;
    // A program without a check is healthy when it has run for a while, and a datagram may be dropped.
    until("a datagram comes back", SETTLES_WITHIN, || {
        socket.send_to(b"ping", endpoint(&alloc)?).or_fail("a datagram")?;
        let mut answer = [0; 16];
        let (length, from) = socket.recv_from(&mut answer).or_fail("its echo")?;
        let same = answer.get(..length) == Some(b"ping") && Ok(from) == endpoint(&alloc).map_err(drop);
        Ok(Look::at(same, (length, from)))
    })
}

fn fall_ill(alloc: &Value) -> Result<(), Failed> {
    let container = format!("{}.{}", alloc.text("/id")?, alloc.number("/incarnation")?);
    let file = format!("/proc/{}/root/tmp/ill", pid_of(&container)?);
    fs::write(&file, "").or_fail(file)
}

/// The check says why, the program is started again, and that one is well.
fn seen(world: &World, checked: &Checked) -> Result<(), Failed> {
    let Checked { name, says, .. } = checked;
    let alloc = until("its next incarnation is healthy", SETTLES_WITHIN, || {
        let alloc = only(world, name)?;
        Ok(if alloc.number("/incarnation")? == 2 { Look::Yes(alloc) } else { Look::No(alloc.to_string()) })
    })?;
    expect(alloc.number("/restarts")? == 1, "it was started again once", &alloc)?;
    let last = alloc.text("/last_end/failure/last").or_fail("what its last check saw")?;
    expect(last.contains(says), &format!("its last check saw `{says}`"), &alloc)?;
    let events = world.mill.json(&["events"])?;
    let unhealthy = events.list("")?.iter().find(|event| {
        event.is("/kind", "alloc_unhealthy") && event.pointer("/alloc") == alloc.pointer("/id")
    });
    let message = unhealthy.or_fail(format_args!("no alloc_unhealthy of {name} in {events:#}"))?;
    expect(message.text("/message")?.contains(says), "the event says so too", message)
}
