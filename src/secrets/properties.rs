//! Whatever a config names and whatever there is: pins are those that the project may see, in their newest version;
//! a roll touches one secret.

use std::collections::BTreeSet;

use mill_model::spec::{EnvVar, HealthCheck, Probe, SecretFile, defaults};
use mill_model::template::{Part, Template};
use mill_model::{
    ContainerSpec, Pin, ProjectSpec, Scope, SecretId, SecretName, ServiceSpec, TaskSpec, WorkloadName,
};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use crate::{Shelf, names_of_service, names_of_task, pin_all, roll, users};

const NAMES: [&str; 4] = ["a", "b.c", "d-e", "f"];
const PROJECTS: [&str; 2] = ["shop", "blog"];

fn template(names: &[usize]) -> Template {
    Template { parts: names.iter().map(|name| Part::Secret(NAMES[*name].to_owned())).collect() }
}

fn container(places: &[Vec<usize>; 5]) -> ContainerSpec {
    let [env, entrypoint, command, files, _] = places;
    let argv = |names: &[usize]| (!names.is_empty()).then(|| vec![Template::text("x"), template(names)]);
    ContainerSpec {
        env: vec![EnvVar { name: "V".to_owned(), value: template(env) }],
        entrypoint: argv(entrypoint),
        command: argv(command),
        secrets: files
            .iter()
            .map(|name| SecretFile {
                path: format!("/run/{name}"),
                name: NAMES[*name].to_owned(),
                owner: None,
                mode: 0o400,
            })
            .collect(),
        ..ContainerSpec::new("r.test/app:v1".parse().unwrap())
    }
}

fn health(names: &[usize]) -> Option<HealthCheck> {
    (!names.is_empty()).then(|| HealthCheck {
        probe: match names.len() % 2 {
            0 => Probe::Exec { command: vec![template(names)] },
            _ => Probe::Http { path: template(names), port: 80.try_into().unwrap() },
        },
        interval: defaults::HEALTH_INTERVAL,
        timeout: defaults::HEALTH_TIMEOUT,
        retries: 3,
        start_period: defaults::HEALTH_START_PERIOD,
    })
}

fn places() -> impl Strategy<Value = [Vec<usize>; 5]> {
    prop::array::uniform5(vec(0..NAMES.len(), 0..3))
}

fn spec() -> impl Strategy<Value = ProjectSpec> {
    (0..2_usize, vec(places(), 0..3), vec(places(), 0..2)).prop_map(|(project, services, tasks)| {
        let image = || "r.test/app:v1".parse().unwrap();
        let name = |kind: &str, number: usize| WorkloadName::new(format!("{kind}{number}")).unwrap();
        let service = |(number, places): (usize, &[Vec<usize>; 5])| ServiceSpec {
            container: container(places),
            health: health(&places[4]),
            ..ServiceSpec::new(name("s", number), image())
        };
        let task = |(number, places): (usize, &[Vec<usize>; 5])| TaskSpec {
            container: container(places),
            ..TaskSpec::new(name("t", number), image())
        };
        ProjectSpec {
            name: PROJECTS[project].parse().unwrap(),
            services: services.iter().enumerate().map(service).collect(),
            tasks: tasks.iter().enumerate().map(task).collect(),
        }
    })
}

fn ids() -> Vec<SecretId> {
    let shared = NAMES.iter().map(|name| (*name).to_owned());
    let owned = PROJECTS.iter().flat_map(|project| NAMES.iter().map(move |name| format!("{project}/{name}")));
    shared.chain(owned).map(|id| id.parse().unwrap()).collect()
}

fn shelf() -> impl Strategy<Value = Shelf> {
    btree_map(0..ids().len(), 1_u32..9, 0..12)
        .prop_map(|secrets| secrets.into_iter().map(|(id, version)| (ids()[id].clone(), version)).collect())
}

/// One that has something for every name.
fn full_shelf() -> impl Strategy<Value = Shelf> {
    let shared = NAMES.map(|name| (name.parse().unwrap(), 1));
    btree_map(0..ids().len(), 1_u32..9, 0..12).prop_map(move |secrets| {
        let drawn = secrets.into_iter().map(|(id, version)| (ids()[id].clone(), version));
        shared.clone().into_iter().chain(drawn).collect()
    })
}

/// Each service and task with what it names and what it is pinned to.
fn held(spec: &ProjectSpec) -> Vec<(BTreeSet<SecretName>, Vec<Pin>)> {
    let services = spec.services.iter().map(|s| (names_of_service(s), s.container.pins.clone()));
    services.chain(spec.tasks.iter().map(|t| (names_of_task(t), t.container.pins.clone()))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn pins_are_what_the_project_may_see_and_all_or_none(spec in spec(), shelf in shelf()) {
        let mut pinned = spec.clone();
        let visible = shelf.names_for(&spec.name);
        let own = shelf.names_in(&Scope::Project(spec.name.clone()));
        let known = held(&spec).iter().all(|(names, _)| names.is_subset(&visible));
        match pin_all(&mut pinned, &shelf) {
            Err(unknown) => {
                prop_assert!(!known && pinned == spec);
                let missing: BTreeSet<_> = unknown.iter().map(|unknown| &unknown.name).collect();
                let named: BTreeSet<_> = held(&spec).into_iter().flat_map(|(names, _)| names).collect();
                prop_assert_eq!(missing, named.iter().filter(|name| !visible.contains(name)).collect());
            }
            Ok(()) => {
                prop_assert!(known);
                for (names, pins) in held(&pinned) {
                    let of: BTreeSet<_> = pins.iter().map(|pin| pin.secret.name.clone()).collect();
                    prop_assert_eq!(&of, &names, "each name once, and nothing else");
                    prop_assert_eq!(pins.len(), names.len());
                    for pin in pins {
                        prop_assert!(pin.secret.scope.is_open_to(&spec.name));
                        let is_own = pin.secret.scope == Scope::Project(spec.name.clone());
                        prop_assert_eq!(is_own, own.contains(&pin.secret.name), "its own goes first");
                        prop_assert_eq!(shelf.find(&spec.name, &pin.secret.name), Some(pin));
                    }
                }
                let again = pinned.clone();
                prop_assert_eq!(pin_all(&mut pinned, &shelf), Ok(()));
                prop_assert_eq!(again, pinned);
            }
        }
    }

    #[test]
    fn a_roll_touches_one_secret_and_those_who_use_it(
        spec in spec(), before in full_shelf(), after in shelf(), which in 0..12_usize,
    ) {
        let mut rolled = spec.clone();
        prop_assert_eq!(pin_all(&mut rolled, &before), Ok(()));
        let (pinned, secret) = (rolled.clone(), ids()[which].clone());
        let changed = roll(&mut rolled, &secret, &after);
        let using: BTreeSet<_> = users(&pinned, &secret, &after).into_iter().cloned().collect();
        prop_assert!(changed.is_subset(&using));
        let newest = after.find(&spec.name, &secret.name).filter(|pin| pin.secret == secret);
        for ((names, old), (_, new)) in held(&pinned).into_iter().zip(held(&rolled)) {
            let others = |pins: &[Pin]| -> Vec<Pin> {
                pins.iter().filter(|pin| pin.secret.name != secret.name).cloned().collect()
            };
            prop_assert_eq!(others(&old), others(&new));
            prop_assert_eq!(old.len(), new.len(), "a name has one pin");
            if let Some(newest) = newest.as_ref().filter(|_| names.contains(&secret.name)) {
                prop_assert!(new.contains(newest));
            }
        }
        let again = rolled.clone();
        prop_assert!(roll(&mut rolled, &secret, &after).is_empty());
        prop_assert_eq!(again, rolled);
    }
}

#[test]
fn values_are_bounded() {
    use crate::{ValueError, check};
    let most = mill_model::limits::SECRET_BYTES_MAX;
    assert_eq!(check(b"x"), Ok(()));
    assert_eq!(check(&vec![0; most]), Ok(()));
    assert_eq!(check(b""), Err(ValueError::Empty));
    assert_eq!(check(&vec![0; most + 1]), Err(ValueError::TooLong { length: most + 1 }));
}
