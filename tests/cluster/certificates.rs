//! A node's certificate ends, and the node has another one before that.

use std::time::SystemTime;

use mill_api::Api;
use mill_api::certs::{Certificate, Owner};
use mill_api::client::Heard;
use mill_api::daemon::InitRequest;
use mill_api::trust::Trust;
use mill_drivers::clock::Clock as _;
use mill_model::{Tempo, Timestamp};

use super::machine::{Machine, WEB};
use super::{pass, secs, until};

const DAY: u64 = 86_400;

/// The node's certificate, as whoever comes over TLS sees it.
async fn shown(api: &Api) -> Certificate {
    let all = api.certificates().await.unwrap();
    all.into_iter().find(|certificate| certificate.of == Owner::Node).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_node_renews_its_certificate_at_two_thirds_of_its_life_and_cuts_nobody() {
    let mut machine = Machine::new("node-1", 1);
    // TLS looks at the machine's own clock, which isn't paused: by that the certificate is 61 days old.
    let real = Timestamp::from(SystemTime::now());
    let clock = machine.fakes.clock.clone();
    clock.jump_forward(real.since(clock.now()).saturating_sub(secs(61 * DAY)));
    machine.start().await;
    let made = machine.api().init(&InitRequest::default()).await.unwrap();
    let listen = until("it listens", async || {
        let daemon = machine.api().daemon().await.map_err(|error| error.to_string())?;
        daemon.listen.ok_or_else(|| "not yet".to_owned())
    })
    .await;
    let remote = || {
        let trust = Trust::Pinned(made.admin_token.ca);
        let address = format!("https://{listen}").parse().unwrap();
        Api::remote(address, made.admin_token.clone(), &trust).unwrap()
    };
    let first = shown(&remote()).await;
    let life = Tempo::default().certificate_life;
    let made_at = clock.now();
    assert!(made_at.after(life).since(first.until) < secs(60), "{first:?}");
    let renewed_at = first.renewed_at.unwrap();
    assert!((58 * DAY..61 * DAY).contains(&renewed_at.since(made_at).as_secs()), "{renewed_at}");

    let mut events = remote().follow_events(None).await.unwrap();
    let look = Tempo::default().certificate_look;
    pass(look * 2).await;
    assert_eq!(shown(&remote()).await, first, "too early");
    clock.jump_forward(renewed_at.since(clock.now()));
    pass(look + secs(1)).await;
    let second = shown(&remote()).await;
    assert_ne!(second.fingerprint, first.fingerprint);
    assert!(clock.now().after(life).since(second.until) < look + secs(60), "{second:?}");

    machine.deploy(WEB).await;
    loop {
        match events.next().await.unwrap() {
            Heard::Item(event) if event.kind == "deploy_succeeded" => break,
            Heard::Item(_) => {}
            other => panic!("the stream was cut: {other:?}"),
        }
    }
    // It is the one on disk.
    machine.kill().await;
    machine.start().await;
    until("it shows the new one", async || match machine.api().certificates().await {
        Ok(all) if all.contains(&second) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}
