//! What is named is kept, what is used can't be deleted, and all of it is bounded.

use std::sync::Arc;

use mill_model::{DeployId, Pin, ProjectSpec, SecretId, ServiceSpec, limits};

use crate::tests::{apply, bootstrapped};
use crate::*;

fn id(text: &str) -> SecretId {
    text.parse().unwrap()
}

fn set(cluster: &mut Cluster, secret: &str, bytes: usize) -> Result<Done, Rejected> {
    let sealed = vec![7; bytes];
    apply(cluster, 5, Command::SetSecret { secret: id(secret), sealed, by: "ann".to_owned() })
}

fn delete(cluster: &mut Cluster, secret: &str) -> Result<Done, Rejected> {
    apply(cluster, 5, Command::DeleteSecret { secret: id(secret), by: "ann".to_owned() })
}

/// A project of one service without replicas, which runs with this version of a secret.
fn target(project: &str, pin: Option<(&str, u32)>) -> Arc<ProjectSpec> {
    let mut web = ServiceSpec::new("web".parse().unwrap(), "r.test/app:v1".parse().unwrap());
    web.replicas = 0;
    web.container.pins =
        pin.map(|(secret, version)| Pin { secret: id(secret), version }).into_iter().collect();
    Arc::new(ProjectSpec { name: project.parse().unwrap(), services: vec![web], tasks: vec![] })
}

fn begin(cluster: &mut Cluster, target: &Arc<ProjectSpec>) -> Result<DeployId, Rejected> {
    let command = Command::BeginDeploy {
        project: target.name.clone(),
        kind: DeployKind::Deploy,
        target: Arc::clone(target),
        replace: false,
        by: String::new(),
    };
    match apply(cluster, 5, command)? {
        Done::Deploy(id) => Ok(id),
        other => panic!("{other:?}"),
    }
}

/// Brings the deploy to its end, as a leader would with nothing to start.
fn finish(cluster: &mut Cluster, deploy: DeployId) {
    for step in cluster.deploys[&deploy].steps.clone().values() {
        for state in [StepState::Rolling, StepState::Done] {
            let (name, reason) = (step.name.clone(), None);
            if step.state != StepState::Done {
                apply(cluster, 5, Command::AdvanceStep { deploy, name, state, reason }).unwrap();
            }
        }
    }
    apply(cluster, 5, Command::EndDeploy(deploy)).unwrap();
}

fn deploy(cluster: &mut Cluster, target: &Arc<ProjectSpec>) -> DeployId {
    let deploy = begin(cluster, target).unwrap();
    finish(cluster, deploy);
    deploy
}

fn versions(cluster: &Cluster, secret: &str) -> Vec<u32> {
    cluster.secret(&id(secret)).map(|secret| secret.versions.keys().copied().collect()).unwrap_or_default()
}

#[test]
fn what_is_named_is_kept_and_of_the_rest_the_newest() {
    let mut cluster = bootstrapped();
    set(&mut cluster, "shop/key", 10).unwrap();
    deploy(&mut cluster, &target("shop", Some(("shop/key", 1))));
    let kept = u32::try_from(limits::SECRET_VERSIONS_KEPT).unwrap();
    for number in 2..=kept + 5 {
        assert_eq!(set(&mut cluster, "shop/key", 10), Ok(Done::SecretVersion(number)));
    }
    let newest: Vec<u32> = (6..=kept + 5).collect();
    assert_eq!(versions(&cluster, "shop/key"), [&[1][..], &newest].concat());
    assert_eq!(cluster.check(), Ok(()));

    // The next version runs: the history names the first still.
    deploy(&mut cluster, &target("shop", Some(("shop/key", 6))));
    set(&mut cluster, "shop/key", 10).unwrap();
    assert_eq!(versions(&cluster, "shop/key")[..3], [1, 6, 7]);
    // Until it has forgotten it.
    for _ in 0..limits::HISTORY_KEPT {
        deploy(&mut cluster, &target("shop", Some(("shop/key", 6))));
    }
    assert_eq!(versions(&cluster, "shop/key")[..2], [6, 7]);
    assert_eq!(Cluster::from_snapshot(&cluster.to_snapshot()).unwrap(), cluster);
}

#[test]
fn a_secret_that_is_used_can_not_be_deleted_and_its_numbers_go_on() {
    let mut cluster = bootstrapped();
    assert_eq!(delete(&mut cluster, "key"), Err(Rejected::NoSuchSecret(id("key"))));
    set(&mut cluster, "key", 10).unwrap();
    let begun = begin(&mut cluster, &target("shop", Some(("key", 1)))).unwrap();
    let users = |users: &[&str]| {
        let user = |user: &&str| match user.strip_prefix('#') {
            Some(number) => SecretUser::Deploy(DeployId(number.parse().unwrap())),
            None => {
                let (project, name) = user.split_once('/').unwrap();
                let (project, name) = (project.parse().unwrap(), name.parse().unwrap());
                SecretUser::Workload(mill_model::Workload { project, name })
            }
        };
        Err(Rejected::SecretUsed { secret: id("key"), users: users.iter().map(user).collect() })
    };
    assert_eq!(delete(&mut cluster, "key"), users(&["#1"]));
    finish(&mut cluster, begun);
    assert_eq!(delete(&mut cluster, "key"), users(&["shop/web"]));

    deploy(&mut cluster, &target("shop", None));
    delete(&mut cluster, "key").unwrap();
    assert_eq!((cluster.secrets().count(), cluster.check()), (0, Ok(())));
    // A rollback to it is refused, not run with another value.
    let gone = Rejected::SecretGone(Pin { secret: id("key"), version: 1 });
    assert_eq!(begin(&mut cluster, &target("shop", Some(("key", 1)))), Err(gone.clone()));
    assert_eq!(set(&mut cluster, "key", 10), Ok(Done::SecretVersion(2)));
    assert_eq!(begin(&mut cluster, &target("shop", Some(("key", 1)))), Err(gone));
    assert_eq!(Cluster::from_snapshot(&cluster.to_snapshot()).unwrap(), cluster);

    // Nothing names it any more: it may begin anew.
    delete(&mut cluster, "key").unwrap();
    for _ in 0..limits::HISTORY_KEPT {
        deploy(&mut cluster, &target("shop", None));
    }
    assert!(cluster.secrets.is_empty());
}

#[test]
fn a_deploy_waits_with_the_versions_that_it_was_asked_for_with() {
    let mut cluster = bootstrapped();
    set(&mut cluster, "key", 10).unwrap();
    let first = begin(&mut cluster, &target("shop", None)).unwrap();
    let second = begin(&mut cluster, &target("shop", Some(("key", 1)))).unwrap();
    for _ in 0..limits::SECRET_VERSIONS_KEPT + 3 {
        set(&mut cluster, "key", 10).unwrap();
    }
    finish(&mut cluster, first);
    finish(&mut cluster, second);
    assert_eq!(versions(&cluster, "key")[0], 1);
    assert_eq!(cluster.check(), Ok(()));
}

#[test]
fn a_project_runs_with_what_it_may_see_and_what_there_is() {
    let mut cluster = bootstrapped();
    for secret in ["key", "shop/key", "blog/key"] {
        set(&mut cluster, secret, 10).unwrap();
    }
    for (secret, version, refused) in [
        ("key", 1, None),
        ("shop/key", 1, None),
        ("blog/key", 1, Some(Rejected::SecretOfAnother(id("blog/key")))),
        ("key", 2, Some(Rejected::SecretGone(Pin { secret: id("key"), version: 2 }))),
        ("other", 1, Some(Rejected::SecretGone(Pin { secret: id("other"), version: 1 }))),
    ] {
        let before = cluster.clone();
        let result = begin(&mut cluster, &target("shop", Some((secret, version))));
        assert_eq!(result.err(), refused, "{secret} {version}");
        cluster = before;
    }
}

#[test]
fn secrets_are_bounded_one_by_one_and_together() {
    let mut cluster = bootstrapped();
    let most = limits::SEALED_BYTES_MAX;
    assert_eq!(set(&mut cluster, "key", 0), Err(Rejected::SecretSize { length: 0 }));
    assert_eq!(set(&mut cluster, "key", most + 1), Err(Rejected::SecretSize { length: most + 1 }));
    let fit = limits::SECRETS_BYTES_MAX / most;
    for number in 0..fit {
        set(&mut cluster, &format!("large-{number}"), most).unwrap();
    }
    let before = cluster.clone();
    assert_eq!(set(&mut cluster, "one-more", most), Err(Rejected::SecretsFull));
    assert_eq!(cluster, before);
    delete(&mut cluster, "large-0").unwrap();
    set(&mut cluster, "one-more", most).unwrap();

    for number in 0..limits::SECRETS_MAX - fit {
        set(&mut cluster, &format!("small-{number}"), 1).unwrap();
    }
    assert_eq!(set(&mut cluster, "one-too-many", 1), Err(Rejected::TooManySecrets));
    set(&mut cluster, "small-0", 1).unwrap();
}

#[test]
fn a_version_is_part_of_what_a_service_runs() {
    let hash = |pin| service_hash(&target("shop", pin).services[0]);
    assert_ne!(hash(None), hash(Some(("key", 1))));
    assert_ne!(hash(Some(("key", 1))), hash(Some(("key", 2))));
    assert_ne!(hash(Some(("key", 1))), hash(Some(("shop/key", 1))));
}

#[test]
fn a_state_with_secrets_is_not_for_binaries_that_know_none() {
    let mut cluster = Cluster { level: 1, ..bootstrapped() };
    deploy(&mut cluster, &target("shop", None));
    assert_eq!(cluster.level, 1);
    set(&mut cluster, "key", 10).unwrap();
    assert_eq!(cluster.level, 2);
}
