use std::num::NonZeroU16;
use std::time::Duration;

use mill_alloc::Kind;
use mill_model::ports::{Port, Protocol};
use mill_model::spec::{ContainerSpec, Stop};
use mill_model::{DeployId, Ended, Resources, SpecHash, Workload};

use super::*;

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const TERM: Term = Term(3);

fn id(name: &str) -> AllocId {
    name.parse().unwrap()
}

fn assignment(name: &str, hash: u8) -> Arc<Assignment> {
    let port = Port { name: None, number: NonZeroU16::new(80).unwrap(), protocol: Protocol::Tcp };
    let container = ContainerSpec {
        image: format!("r.example/web@sha256:{}", "a".repeat(64)).parse().unwrap(),
        entrypoint: None,
        command: None,
        env: vec![],
        resources: Resources::default(),
        ports: vec![port],
        volumes: vec![],
        secrets: vec![],
        stop: Stop { signal: None, grace: Duration::ZERO, drain: Duration::ZERO },
        user: None,
        workdir: None,
        read_only_root: false,
        cap_add: vec![],
        cap_drop: vec![],
        devices: vec![],
        pins: vec![],
    };
    Arc::new(Assignment {
        alloc: id(name),
        workload: Workload { project: "shop".parse().unwrap(), name: "web".parse().unwrap() },
        index: 0,
        kind: Kind::Service { health: None },
        hash: SpecHash([hash; 32]),
        container,
        deploy: DeployId(1),
        failures: 0,
    })
}

fn run(term: Term, name: &str, hash: u8) -> Order {
    Order::Run { term, assignment: assignment(name, hash), heard: Heard::default() }
}

fn give(node: &mut Node, order: Order) -> (Outcome, Vec<Effect>) {
    let (ack, effects) = node.order(order, &BTreeSet::new(), NOW);
    (ack.outcome, effects)
}

fn report(node: &mut Node, name: &str, revision: u64, phase: Phase) {
    let status = node.statuses().find(|status| status.id == id(name)).unwrap().clone();
    let last_end = Some(Ended { incarnation: Incarnation(1), failure: None, at: NOW, code: None });
    node.reported(AllocStatus { revision, phase, incarnation: Incarnation(1), last_end, ..status });
}

fn node_with(name: &str) -> Node {
    let mut node = Node::default();
    node.open(TERM).unwrap();
    let (outcome, effects) = give(&mut node, run(TERM, name, 1));
    assert_eq!(outcome, Outcome::Accepted);
    assert!(matches!(effects[..], [Effect::Begin(_)]));
    node
}

#[test]
fn an_order_that_comes_twice_is_carried_out_once() {
    let mut node = node_with("web-aaaa");
    assert_eq!(give(&mut node, run(TERM, "web-aaaa", 1)), (Outcome::Already, vec![]));
    let stop = || Order::Stop { term: TERM, alloc: id("web-aaaa") };
    let passed_on = vec![Effect::Stop { alloc: id("web-aaaa") }];
    assert_eq!(give(&mut node, stop()), (Outcome::Accepted, passed_on.clone()));
    assert_eq!(give(&mut node, stop()), (Outcome::Already, passed_on));
    report(&mut node, "web-aaaa", 5, Phase::Stopped);
    assert_eq!(give(&mut node, stop()), (Outcome::Already, vec![]));
    assert_eq!(give(&mut node, run(TERM, "web-aaaa", 1)), (Outcome::Already, vec![]));
}

#[test]
fn an_older_term_is_refused_and_changes_nothing() {
    let mut node = node_with("web-aaaa");
    let refusal = Refusal::StaleTerm { given: Term(2), seen: TERM };
    assert_eq!(node.open(Term(2)), Err(refusal.clone()));
    assert_eq!(node.caught_up(Term(2)), Err(refusal.clone()));
    for order in [
        run(Term(2), "web-bbbb", 1),
        Order::Stop { term: Term(2), alloc: id("web-aaaa") },
        Order::Forget { term: Term(2), alloc: id("web-aaaa") },
    ] {
        assert_eq!(give(&mut node, order), (Outcome::Refused(refusal.clone()), vec![]));
    }
    assert_eq!(node.statuses().count(), 1);
    assert_eq!(node.woke(&id("web-aaaa"), None).len(), 1, "it was told to stop by a stale leader");
}

#[test]
fn an_id_that_stands_for_another_spec_is_refused() {
    let mut node = node_with("web-aaaa");
    let refusal = Refusal::OtherSpec { runs: SpecHash([1; 32]) };
    assert_eq!(give(&mut node, run(TERM, "web-aaaa", 2)), (Outcome::Refused(refusal), vec![]));
}

#[test]
fn a_port_is_held_until_the_end_and_skips_what_the_machine_holds() {
    let mut node = Node::new(20_000);
    let taken = BTreeSet::from([20_000, 20_001]);
    let (_, effects) = node.order(run(TERM, "web-aaaa", 1), &taken, NOW);
    let [Effect::Begin(begin)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(begin.ports[0].mapped.get(), 20_002);
    report(&mut node, "web-aaaa", 1, Phase::Waiting);
    assert_eq!(node.ports_held(), 1, "it starts again on the same one");
    report(&mut node, "web-aaaa", 2, Phase::Failed);
    assert_eq!(node.ports_held(), 0);
    let all: BTreeSet<u16> = (0..=u16::MAX).collect();
    let (ack, effects) = node.order(run(TERM, "web-bbbb", 1), &all, NOW);
    assert!(matches!(ack.outcome, Outcome::Refused(Refusal::NoPorts(_))));
    assert_eq!(effects, []);
}

#[test]
fn only_what_has_ended_is_forgotten() {
    let mut node = node_with("web-aaaa");
    let forget = || Order::Forget { term: TERM, alloc: id("web-aaaa") };
    assert_eq!(give(&mut node, forget()), (Outcome::Refused(Refusal::NotEnded), vec![]));
    report(&mut node, "web-aaaa", 1, Phase::Stopped);
    assert_eq!(
        give(&mut node, forget()),
        (Outcome::Accepted, vec![Effect::Forget { alloc: id("web-aaaa") }])
    );
    assert_eq!(give(&mut node, forget()), (Outcome::Unknown, vec![]));
    assert_eq!(node.batch(), None, "what is forgotten is news to nobody");
}

#[test]
fn news_gathers_while_a_batch_is_under_way_and_is_kept_until_acknowledged() {
    let mut node = node_with("web-aaaa");
    give(&mut node, run(TERM, "web-bbbb", 1));
    report(&mut node, "web-aaaa", 1, Phase::Pulling);
    let first = node.batch().unwrap();
    assert_eq!(first.statuses.len(), 1);
    report(&mut node, "web-aaaa", 2, Phase::Starting);
    report(&mut node, "web-bbbb", 1, Phase::Pulling);
    assert_eq!(node.batch(), None);
    node.acknowledged(first.sequence + 1);
    assert_eq!(node.batch(), None, "an acknowledgement of another batch counted");
    node.acknowledged(first.sequence);
    let second = node.batch().unwrap();
    let phases: Vec<Phase> = second.statuses.iter().map(|status| status.phase).collect();
    assert_eq!(phases, [Phase::Starting, Phase::Pulling]);
    node.batch_lost(second.sequence);
    let third = node.batch().unwrap();
    assert_eq!(third.statuses, second.statuses);
    node.open(TERM.next()).unwrap();
    node.acknowledged(third.sequence);
    let fourth = node.batch().unwrap();
    assert_eq!(fourth.statuses, second.statuses, "the earlier leader's word counted for the new one");
    node.acknowledged(fourth.sequence);
    assert_eq!(node.batch(), None);
}

#[test]
fn late_news_of_an_alloc_is_dropped() {
    let mut node = node_with("web-aaaa");
    report(&mut node, "web-aaaa", 7, Phase::Healthy);
    report(&mut node, "web-aaaa", 6, Phase::Running);
    assert_eq!(node.statuses().next().unwrap().phase, Phase::Healthy);
}

#[test]
fn nothing_is_cleared_away_before_the_node_has_caught_up() {
    let mut node = node_with("web-aaaa");
    report(&mut node, "web-aaaa", 1, Phase::Healthy);
    let found = [
        (id("web-aaaa"), Incarnation(0)),
        (id("web-aaaa"), Incarnation(1)),
        (id("web-aaaa"), Incarnation(2)),
        (id("web-zzzz"), Incarnation(1)),
    ];
    assert_eq!(node.leftovers(&found), []);
    assert_eq!(node.images(), None);
    assert_eq!(node.caught_up(TERM), Ok(Effect::Collect));
    assert_eq!(node.leftovers(&found), [found[0].clone(), found[3].clone()]);
    assert_eq!(node.images().unwrap().len(), 1);
    node.open(TERM.next()).unwrap();
    assert_eq!(node.leftovers(&found), [], "a new leader's wishes aren't known yet");
}

#[test]
fn output_may_come_of_what_has_a_container_or_will_have_one() {
    let mut node = node_with("web-aaaa");
    report(&mut node, "web-aaaa", 2, Phase::Waiting);
    let outputs = node.outputs(&[(id("web-zzzz"), Incarnation(7))]);
    let current = node.statuses().next().unwrap().incarnation;
    let table = [
        ("web-aaaa", current, false, "its last run, since it waits for the next"),
        ("web-aaaa", current.next(), true, "a run that the node hasn't heard of yet"),
        ("web-aaaa", Incarnation(current.0 - 1), false, "an earlier run without a container"),
        ("web-zzzz", Incarnation(7), true, "a container of no alloc"),
        ("web-zzzz", Incarnation(8), false, "nothing at all"),
    ];
    for (alloc, incarnation, may_come, what) in table {
        assert_eq!(outputs.may_come(&id(alloc), incarnation), may_come, "{what}");
    }
    assert!(outputs.may_be_read(&id("web-zzzz")), "it may be ordered in a moment");
    report(&mut node, "web-aaaa", 3, Phase::Starting);
    assert!(node.outputs(&[]).may_come(&id("web-aaaa"), current), "its container is on its way");
    let _ = node.caught_up(TERM).unwrap();
    report(&mut node, "web-aaaa", 4, Phase::Stopped);
    let outputs = node.outputs(&[]);
    assert!(outputs.may_be_read(&id("web-aaaa")) && !outputs.may_be_read(&id("web-zzzz")));
    assert!(!outputs.may_come(&id("web-aaaa"), current));
}

#[test]
fn a_restarted_daemon_has_the_same_allocs_ports_and_orders() {
    let record = |name: &str, mapped: u16, phase, ending| {
        let assignment = assignment(name, 1);
        let declared = assignment.container.ports[0].clone();
        let ports = vec![MappedPort::new(declared, NonZeroU16::new(mapped).unwrap())];
        let status = AllocStatus {
            id: id(name),
            incarnation: Incarnation(4),
            revision: 20,
            phase,
            since: NOW,
            failures: 2,
            given_back: false,
            ports,
            last_end: None,
            ailment: None,
        };
        let (loopback, signalled, started_at, deadline, last_phase) = (None, false, None, None, None);
        let (launched, marked) = (false, false);
        Record {
            assignment,
            status,
            loopback,
            ending,
            signalled,
            launched,
            started_at,
            deadline,
            last_phase,
            marked,
        }
    };
    let mut node = Node::new(20_000);
    let healthy = record("web-aaaa", 20_000, Phase::Healthy, None);
    let (Effect::Begin(begin), Ok(())) = node.restore(&healthy) else { panic!("not begun") };
    assert_eq!((begin.heard.revision, begin.ports), (20, healthy.status.ports.clone()));
    let stopping = record("web-bbbb", 20_001, Phase::Stopping, Some(Ending::Ordered));
    assert_eq!(node.restore(&stopping).1, Ok(()));
    assert_eq!(node.restore(&record("web-cccc", 20_002, Phase::Failed, None)).1, Ok(()));
    assert!(node.restore(&record("web-dddd", 20_000, Phase::Healthy, None)).1.is_err());

    assert_eq!(node.ports_held(), 2);
    assert!(node.woke(&id("web-bbbb"), None).contains(&Effect::Stop { alloc: id("web-bbbb") }));
    assert_eq!(node.woke(&id("web-aaaa"), None).len(), 1);
    let inventory = node.open(TERM).unwrap();
    let stopping: Vec<bool> = inventory.allocs.iter().map(|held| held.stopping).collect();
    assert_eq!(stopping, [false, true, false, false]);
    assert_eq!(node.batch().unwrap().statuses.len(), 4, "what was acknowledged before isn't known");
}

#[test]
fn where_the_kernel_maps_ports_each_alloc_has_a_private_loopback_until_it_is_forgotten() {
    let loopback = |effects: &[Effect]| match effects {
        [Effect::Begin(begin)] => begin.loopback.map(|loopback| loopback.0.get()),
        _ => panic!("{effects:?}"),
    };
    let mut node = Node::new(20_000);
    let _ = node.open(TERM).unwrap();
    assert_eq!(loopback(&give(&mut node, run(TERM, "web-aaaa", 1)).1), None, "the kernel can't");

    let mut node = Node::new(20_000).with_loopbacks(true);
    let _ = node.open(TERM).unwrap();
    assert_eq!(loopback(&give(&mut node, run(TERM, "web-bbbb", 1)).1), Some(1));
    assert_eq!(loopback(&give(&mut node, run(TERM, "web-cccc", 1)).1), Some(2));

    let (_, effects) = give(&mut node, run(TERM, "web-dddd", 1));
    let [Effect::Begin(begin)] = &effects[..] else { panic!("{effects:?}") };
    let life = mill_alloc::Life::new(
        Arc::clone(&begin.assignment),
        begin.ports.clone(),
        begin.heard,
        Arc::default(),
        NOW,
    );
    let mut life = life.with_loopback(begin.loopback);
    let effects = life.step(NOW, mill_alloc::Input::Resume { found: vec![] });
    let kept = effects.into_iter().find_map(|effect| match effect {
        mill_alloc::Effect::Persist(record) => Some(Record::decode(&record.encode().unwrap()).unwrap()),
        _ => None,
    });
    let mut restarted = Node::new(20_000).with_loopbacks(true);
    let (effect, ports) = restarted.restore(&kept.unwrap());
    assert_eq!((loopback(&[effect]), ports), (Some(3), Ok(())), "its record knows");
    let _ = restarted.open(TERM).unwrap();
    let given: Vec<_> = ["web-eeee", "web-ffff", "web-gggg"]
        .iter()
        .map(|name| loopback(&give(&mut restarted, run(TERM, name, 1)).1))
        .collect();
    assert_eq!(given, [Some(1), Some(2), Some(4)], "to nobody else");
}

#[test]
fn a_leader_that_heard_more_than_the_node_remembers_is_believed() {
    let mut node = node_with("web-aaaa");
    let said = |revision| {
        let heard = Heard { incarnation: Incarnation(1), revision };
        let order = Order::Run { term: TERM, assignment: assignment("web-aaaa", 1), heard };
        let effect =
            Effect::Heard { alloc: id("web-aaaa"), heard: Heard { revision: revision + 1, ..heard } };
        (order, effect)
    };
    for revision in [9, 1] {
        let (order, effect) = said(revision);
        assert_eq!(give(&mut node, order), (Outcome::Already, vec![effect.clone()]), "{revision}");
        assert_eq!(node.woke(&id("web-aaaa"), None), [effect], "its actor was away");
    }
    assert_eq!(give(&mut node, said(0).0), (Outcome::Already, vec![]), "it heard less");

    report(&mut node, "web-aaaa", 5, Phase::Stopped);
    assert_eq!(give(&mut node, said(8).0), (Outcome::Already, vec![]));
    let batch = node.batch().unwrap();
    assert_eq!((batch.statuses[0].phase, batch.statuses[0].revision), (Phase::Stopped, 9));
}

#[test]
fn an_alloc_that_is_begun_again_has_news_of_all_that_was_heard() {
    let mut node = Node::new(20_000);
    let heard = Heard { incarnation: Incarnation(2), revision: 7 };
    let order = Order::Run { term: TERM, assignment: assignment("web-aaaa", 1), heard };
    assert_eq!(give(&mut node, order).0, Outcome::Accepted);
    let told = Effect::Heard { alloc: id("web-aaaa"), heard: Heard { revision: 8, ..heard } };
    assert_eq!(node.woke(&id("web-aaaa"), None), [told]);
    assert_eq!(give(&mut node, run(TERM, "web-bbbb", 1)).0, Outcome::Accepted);
    let nothing = Effect::Heard { alloc: id("web-bbbb"), heard: Heard::default() };
    assert_eq!(node.woke(&id("web-bbbb"), None), [nothing]);
}

#[test]
fn what_a_record_says_that_could_not_be_read_at_first_is_told() {
    // The leader heard that it was stopping; the daemon started without its record, which tells of its end.
    let mut node = Node::default();
    node.open(TERM).unwrap();
    let Order::Run { term, assignment, .. } = run(TERM, "web-aaaa", 1) else { panic!() };
    let heard = Heard { incarnation: Incarnation(2), revision: 10 };
    let (outcome, effects) = give(&mut node, Order::Run { term, assignment, heard });
    assert_eq!(outcome, Outcome::Accepted);
    let [Effect::Begin(_)] = &effects[..] else { panic!("{effects:?}") };
    let status = node.statuses().next().unwrap().clone();
    let record = AllocStatus { phase: Phase::Stopped, revision: 11, ..status };
    let _ = node.woke(&id("web-aaaa"), Some(record.clone()));
    assert_eq!(node.batch().unwrap().statuses, std::slice::from_ref(&record));
    // One that is older than what was heard tells nothing.
    let older = AllocStatus { phase: Phase::Running, revision: 9, ..record.clone() };
    let _ = node.woke(&id("web-aaaa"), Some(older));
    assert_eq!(node.statuses().next(), Some(&record));
}
