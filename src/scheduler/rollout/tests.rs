use std::collections::BTreeMap;

use mill_model::WorkloadName;
use proptest::prelude::*;

use super::*;

fn id(version: &str, number: usize) -> AllocId {
    let name = WorkloadName::new(version).unwrap();
    AllocId::derive(&name, number as u64)
}

fn replicas(version: &str, states: &str) -> Vec<Replica> {
    let replica = |(number, state): (usize, char)| {
        let failing = |failures| Health::Failing(Failing { failures, last: Failure::Exited { code: 1 } });
        let health = match state {
            's' => Health::Starting,
            'h' => Health::Healthy,
            'x' => Health::Stopping,
            'f' => failing(1),
            'F' => failing(limits::FAILURES_BEFORE_ROLLBACK),
            other => panic!("{other}"),
        };
        Replica { id: id(version, number), index: u32::try_from(number).unwrap(), health }
    };
    states.chars().enumerate().map(replica).collect()
}

/// `+N`: start N; `-N`: stop N new ones; `~N`: stop N old ones.
fn told(rollout: &Rollout) -> String {
    let actions = match rollout.next() {
        Verdict::Done => return "done".to_owned(),
        Verdict::Failed { .. } => return "failed".to_owned(),
        Verdict::Going(actions) => actions,
    };
    let count = |wanted: fn(&Action) -> bool| actions.iter().filter(|action| wanted(action)).count();
    let starts = count(|action| matches!(action, Action::Start { .. }));
    let new = count(|action| matches!(action, Action::Stop { id } if id.as_str().starts_with("new")));
    let old = count(|action| matches!(action, Action::Stop { id } if id.as_str().starts_with("old")));
    format!("+{starts} -{new} ~{old}")
}

#[test]
fn the_next_step_by_what_there_is() {
    use UpdateOrder::{StartFirst, StopFirst};
    for (order, parallel, want, new, keep, old, expected) in [
        // A first deploy starts all at once; nothing can be lost.
        (StartFirst, 1, 3, "", 0, "", "+3 -0 ~0"),
        (StartFirst, 1, 3, "shs", 0, "", "+0 -0 ~0"),
        (StartFirst, 1, 3, "hhh", 0, "", "done"),
        (StartFirst, 1, 0, "", 0, "", "done"),
        // One at a time, start first.
        (StartFirst, 1, 3, "", 3, "hhh", "+1 -0 ~0"),
        (StartFirst, 1, 3, "s", 3, "hhh", "+0 -0 ~0"),
        (StartFirst, 1, 3, "h", 3, "hhh", "+1 -0 ~1"),
        (StartFirst, 1, 3, "hs", 3, "xhh", "+0 -0 ~0"),
        (StartFirst, 1, 3, "hhh", 3, "h", "+0 -0 ~1"),
        (StartFirst, 1, 3, "hhh", 3, "x", "+0 -0 ~0"),
        (StartFirst, 2, 5, "h", 5, "hhhhh", "+2 -0 ~1"),
        // Fewer than there shall be: what serves is kept, what never will makes room.
        (StopFirst, 1, 4, "", 1, "h", "+1 -0 ~0"),
        (StopFirst, 1, 4, "", 1, "f", "+1 -0 ~0"),
        (StopFirst, 1, 4, "", 1, "F", "+1 -0 ~1"),
        (StopFirst, 1, 4, "s", 1, "F", "+0 -0 ~0"),
        // Fewer and more at once with the update.
        (StartFirst, 1, 1, "h", 3, "hhh", "+0 -0 ~3"),
        (StartFirst, 1, 5, "hh", 2, "h", "+1 -0 ~1"),
        (StartFirst, 1, 5, "hh", 2, "x", "+3 -0 ~0"),
        // Scaling one version.
        (StartFirst, 1, 4, "hh", 0, "", "+2 -0 ~0"),
        (StartFirst, 1, 1, "hhs", 0, "", "+0 -2 ~0"),
        (StartFirst, 1, 0, "hh", 0, "", "+0 -2 ~0"),
        (StartFirst, 1, 0, "xx", 0, "", "+0 -0 ~0"),
        // Removing a service.
        (StartFirst, 1, 0, "", 2, "hh", "+0 -0 ~2"),
        // Failing.
        (StartFirst, 1, 3, "f", 3, "hhh", "+0 -0 ~0"),
        (StartFirst, 1, 3, "hF", 3, "xhh", "failed"),
        // Stop first.
        (StopFirst, 1, 1, "", 1, "h", "+0 -0 ~1"),
        (StopFirst, 1, 1, "", 1, "x", "+0 -0 ~0"),
        (StopFirst, 1, 1, "", 1, "", "+1 -0 ~0"),
        (StopFirst, 1, 3, "", 3, "hhh", "+0 -0 ~1"),
        (StopFirst, 1, 3, "", 3, "hh", "+1 -0 ~0"),
        (StopFirst, 1, 3, "s", 3, "hh", "+0 -0 ~0"),
        (StopFirst, 1, 3, "h", 3, "hh", "+0 -0 ~1"),
        (StopFirst, 1, 1, "F", 1, "", "failed"),
        // One that is leaving keeps its number until it has ended, whatever its version.
        (StopFirst, 1, 1, "x", 0, "", "+0 -0 ~0"),
        (StopFirst, 1, 2, "hx", 0, "", "+0 -0 ~0"),
        (StopFirst, 1, 3, "hx", 0, "", "+1 -0 ~0"),
        (StopFirst, 1, 3, "", 1, "h", "+1 -0 ~0"),
        (StopFirst, 1, 2, "", 3, "hhx", "+0 -0 ~1"),
    ] {
        let rollout =
            Rollout { new: replicas("new", new), want, old: replicas("old", old), keep, parallel, order };
        assert_eq!(
            told(&rollout),
            expected,
            "{order:?} parallel {parallel}: {want} new of {new:?}, {keep} old of {old:?}"
        );
    }
}

#[test]
fn what_cannot_get_better_fails_at_once() {
    for (last, failures, fails) in [
        (Failure::NoSuchCommand { command: "x".into() }, 1, true),
        (Failure::Unhealthy { last: "503".into() }, 1, true),
        (Failure::OutOfMemory, 2, false),
        (Failure::OutOfMemory, 3, true),
        (Failure::PullFailed { detail: "timeout".into() }, 1, false),
    ] {
        let health = Health::Failing(Failing { failures, last: last.clone() });
        let new = vec![Replica { id: id("new", 0), index: 0, health }];
        let rollout =
            Rollout { new, want: 1, old: vec![], keep: 0, parallel: 1, order: UpdateOrder::StartFirst };
        assert_eq!(matches!(rollout.next(), Verdict::Failed { .. }), fails, "{last}");
    }
}

/// Plays a rollout to its end: `pick` says which replica moves next, `fails` which new ones never get healthy.
struct Play {
    rollout: Rollout,
    serving_min: usize,
    missing_max: usize,
    born: BTreeMap<AllocId, bool>,
}

impl Play {
    fn serving(&self) -> usize {
        let healthy = |list: &[Replica]| list.iter().filter(|replica| replica.is_healthy()).count();
        healthy(&self.rollout.new) + healthy(&self.rollout.old)
    }

    fn act(&mut self, actions: Vec<Action>, fails: &dyn Fn(usize) -> bool) {
        for action in actions {
            match action {
                Action::Start { index } => {
                    let all = || self.rollout.new.iter().chain(&self.rollout.old);
                    let alone = all().all(|replica| replica.index != index);
                    assert!(
                        alone || self.rollout.order == UpdateOrder::StartFirst,
                        "two have number {index}"
                    );
                    let id = id("new", 1000 + self.born.len());
                    self.born.insert(id.clone(), fails(self.born.len()));
                    self.rollout.new.push(Replica { id, index, health: Health::Starting });
                }
                Action::Stop { id } => {
                    let all = self.rollout.new.iter_mut().chain(&mut self.rollout.old);
                    all.filter(|replica| replica.id == id)
                        .for_each(|replica| replica.health = Health::Stopping);
                }
            }
        }
    }

    /// One replica gets on: a starting one becomes healthy (or fails), a stopping one ends.
    fn move_one(&mut self, pick: usize) {
        let born = &self.born;
        let can_move = |replica: &&mut Replica| {
            let stuck = born.get(&replica.id) == Some(&true);
            replica.is_stopping() || (replica.health == Health::Starting && !stuck)
        };
        let mut movable: Vec<&mut Replica> =
            self.rollout.new.iter_mut().chain(&mut self.rollout.old).filter(can_move).collect();
        if movable.is_empty() {
            return;
        }
        let chosen = pick % movable.len();
        let replica = &mut movable[chosen];
        if replica.is_stopping() {
            let id = replica.id.clone();
            self.rollout.new.retain(|replica| replica.id != id);
            self.rollout.old.retain(|replica| replica.id != id);
        } else {
            replica.health = Health::Healthy;
        }
        self.note();
    }

    fn note(&mut self) {
        self.serving_min = self.serving_min.min(self.serving());
        let present = self.rollout.new.len() + self.rollout.old.len();
        self.missing_max = self.missing_max.max(present);
    }
}

/// Plays an update in which all goes well, replicas getting on in the order of `picks`.
fn update(want: u32, keep: u32, parallel: u32, order: UpdateOrder, picks: Vec<usize>) {
    let old = replicas("old", &"h".repeat(keep as usize));
    let rollout = Rollout { new: vec![], want, old, keep, parallel, order };
    let mut play = Play { rollout, serving_min: keep as usize, missing_max: 0, born: BTreeMap::new() };
    let mut done = false;
    for pick in picks {
        match play.rollout.next() {
            Verdict::Done => {
                done = true;
                break;
            }
            Verdict::Failed { id, .. } => panic!("{id} failed"),
            Verdict::Going(actions) => play.act(actions, &|_| false),
        }
        play.note();
        play.move_one(pick);
    }
    assert!(done, "{:?}", play.rollout);
    let stop_first = order == UpdateOrder::StopFirst;
    let floor = want.min(keep);
    let floor = if stop_first { floor.saturating_sub(parallel) } else { floor };
    assert!(play.serving_min >= floor as usize, "served {} of {floor}", play.serving_min);
    if stop_first {
        assert!(play.missing_max <= want.max(keep) as usize);
    }
}

#[test]
fn an_update_of_three_stop_first_ends_when_the_first_always_gets_on() {
    update(3, 3, 1, UpdateOrder::StopFirst, vec![0; 200]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_update_ends_and_never_drops_below_what_served(
        want in 0u32..6, keep in 0u32..6, parallel in 1u32..4, picks in prop::collection::vec(0usize..50, 200),
        stop_first: bool,
    ) {
        update(want, keep, parallel, if stop_first { UpdateOrder::StopFirst } else { UpdateOrder::StartFirst }, picks);
    }

    #[test]
    fn a_version_that_never_gets_healthy_takes_no_old_replica_with_it(
        want in 1u32..6, keep in 0u32..6, parallel in 1u32..4, picks in prop::collection::vec(0usize..50, 100),
    ) {
        let old = replicas("old", &"h".repeat(keep as usize));
        let order = UpdateOrder::StartFirst;
        let rollout = Rollout { new: vec![], want, old, keep, parallel, order };
        let mut play = Play { rollout, serving_min: keep as usize, missing_max: 0, born: BTreeMap::new() };
        for pick in picks {
            if let Verdict::Going(actions) = play.rollout.next() {
                play.act(actions, &|_| true);
            }
            play.move_one(pick);
        }
        prop_assert_eq!(play.serving(), keep as usize);
    }
}

#[test]
fn replicas_that_fail_go_before_one_that_is_only_starting() {
    let (parallel, order) = (2, UpdateOrder::StopFirst);
    let rollout = Rollout { new: vec![], want: 3, old: replicas("old", "sff"), keep: 3, parallel, order };
    let stopped = [1, 2].map(|number| Action::Stop { id: id("old", number) });
    assert_eq!(rollout.next(), Verdict::Going(stopped.to_vec()));
}
