//! A node's certificate ends, and the node has another one before that.

use std::time::SystemTime;

use mill_api::certs::{Certificate, Owner, RotateCa};
use mill_api::client::{Address, Heard};
use mill_api::daemon::InitRequest;
use mill_api::tokens::CreateToken;
use mill_api::trust::Trust;
use mill_api::{Api, ClientError, Code, Token};
use mill_drivers::clock::Clock as _;
use mill_model::{RoleName, Tempo, Timestamp};

use super::machine::{Machine, WEB};
use super::{pass, secs, until};

const DAY: u64 = 86_400;

/// The node's certificate, as whoever comes over TLS sees it.
async fn shown(api: &Api) -> Certificate {
    let all = api.certificates().await.unwrap();
    all.into_iter().find(|certificate| certificate.of == Owner::Node).unwrap()
}

/// Where the node's API listens.
async fn listens(machine: &Machine) -> Address {
    let listen = until("it listens", async || {
        let daemon = machine.api().daemon().await.map_err(|error| error.to_string())?;
        daemon.listen.ok_or_else(|| "not yet".to_owned())
    })
    .await;
    format!("https://{listen}").parse().unwrap()
}

fn remote(address: &Address, token: &Token) -> Api {
    Api::remote(address.clone(), token.clone(), &Trust::Pinned(token.ca)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_cluster_gets_another_ca_and_tokens_of_the_old_one_open_as_long_as_was_said() {
    let mut machine = Machine::new("node-1", 1);
    let clock = machine.fakes.clock.clone();
    clock.jump_forward(Timestamp::from(SystemTime::now()).since(clock.now()));
    machine.start().await;
    let old = machine.api().init(&InitRequest::default()).await.unwrap().admin_token;
    let address = listens(&machine).await;
    let request = RotateCa { keep_ms: Some(DAY * 1000) };
    let rotated = remote(&address, &old).rotate_ca(&request).await.unwrap();
    let mut new = old.clone();
    new.ca = rotated.fingerprint.parse().unwrap();
    assert_ne!(new.ca, old.ca);
    for life in 0..2 {
        let address = listens(&machine).await;
        until("the new CA is shown", async || {
            remote(&address, &new).whoami().await.map_err(|error| error.to_string())
        })
        .await;
        for token in [&old, &new] {
            assert_eq!(remote(&address, token).whoami().await.unwrap().ca, Some(new.ca), "life {life}");
        }
        assert!(matches!(
            remote(&address, &new).rotate_ca(&request).await,
            Err(ClientError::Refused(refused)) if refused.code == Code::Conflict
        ));
        if life == 0 {
            machine.kill().await;
            machine.start().await;
        }
    }
    let address = listens(&machine).await;
    let created = CreateToken { role: RoleName::Viewer, projects: None, name: None, expires_in_ms: None };
    assert_eq!(machine.api().create_token(&created).await.unwrap().token.ca, new.ca);
    clock.jump_forward(secs(DAY));
    pass(Tempo::default().certificate_look + secs(1)).await;
    assert!(matches!(remote(&address, &old).whoami().await, Err(ClientError::Untrusted { .. })));
    remote(&address, &new).whoami().await.unwrap();
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
