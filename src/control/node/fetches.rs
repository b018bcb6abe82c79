//! Images that the node gets before its allocs need them: each until it is here, again and again while it fails, as
//! long as the leader wants it.

use std::collections::BTreeMap;

use mill_model::{DeployId, Digest, Failure, ImageRef};
use mill_scheduler::Failing;

use super::{Effect, Node};
use crate::fetch::{Fetch, FetchState, Fetched, Fetches};

/// What is wanted, and how far it is.
#[derive(Debug, Default)]
pub(super) struct Errands {
    wanted: BTreeMap<ImageRef, Entry>,
    /// The last errand's number: what comes of one that was let go is told from what comes of its successor.
    last: u64,
    /// Whether something changed since the leader was told.
    news: bool,
}

#[derive(Debug)]
struct Entry {
    errand: u64,
    fetch: Fetch,
}

impl Errands {
    /// Wants these, and nothing else.
    pub(super) fn want(&mut self, fetches: &Fetches) -> Vec<Effect> {
        let mut effects = vec![];
        self.wanted.retain(|image, entry| {
            let stays = fetches.get(image).is_some_and(|deploy| *deploy <= entry.fetch.deploy);
            if !stays {
                effects.push(Effect::LetGo { errand: entry.errand });
            }
            stays
        });
        for (image, deploy) in fetches {
            if !self.wanted.contains_key(image) {
                effects.push(self.begin(image, *deploy));
            }
        }
        self.news = true;
        effects
    }

    fn begin(&mut self, image: &ImageRef, deploy: DeployId) -> Effect {
        self.last = self.last.saturating_add(1);
        let errand = self.last;
        let fetch = Fetch { deploy, state: FetchState::UnderWay };
        self.wanted.insert(image.clone(), Entry { errand, fetch });
        Effect::Fetch { errand, image: image.clone() }
    }

    fn find(&mut self, errand: u64) -> Option<(&ImageRef, &mut Entry)> {
        self.wanted.iter_mut().find(|(_, entry)| entry.errand == errand)
    }

    /// What is wanted, as the leader said it.
    pub(super) fn fetches(&self) -> Fetches {
        self.wanted.iter().map(|(image, entry)| (image.clone(), entry.fetch.deploy)).collect()
    }

    /// Another leader knows nothing yet.
    pub(super) fn tell_anew(&mut self) {
        self.news = !self.wanted.is_empty();
    }

    pub(super) fn digests(&self) -> impl Iterator<Item = Digest> {
        self.wanted.keys().filter_map(|image| image.digest.clone())
    }
}

impl Node {
    /// An errand to get an image has ended. What became of one that was let go doesn't matter.
    pub fn fetched(&mut self, errand: u64, result: Result<(), Failure>) -> Option<Effect> {
        let (_, entry) = self.errands.find(errand)?;
        let (state, effect) = match result {
            Ok(()) => (FetchState::Here, None),
            Err(last) => {
                let before = match &entry.fetch.state {
                    FetchState::Failing(failing) => failing.failures,
                    FetchState::UnderWay | FetchState::Here => 0,
                };
                let failures = before.saturating_add(1);
                let effect = Effect::FetchLater { errand, failures };
                (FetchState::Failing(Failing { failures, last }), Some(effect))
            }
        };
        entry.fetch.state = state;
        self.errands.news = true;
        effect
    }

    /// The pause after a failure is over. What was said of it stays said until there is better news.
    pub fn fetch_again(&mut self, errand: u64) -> Option<Effect> {
        let (image, _) = self.errands.find(errand)?;
        Some(Effect::Fetch { errand, image: image.clone() })
    }

    /// What to tell the leader of the images that it wants here, if anything of it is new.
    pub fn fetch_news(&mut self) -> Option<Fetched> {
        let said = |(image, entry): (&ImageRef, &Entry)| (image.clone(), entry.fetch.clone());
        let errands = &mut self.errands;
        std::mem::take(&mut errands.news).then(|| errands.wanted.iter().map(said).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use mill_model::{Term, Timestamp};

    use super::*;
    use crate::dispatch::{Order, Outcome, Refusal};

    fn image(digit: &str) -> ImageRef {
        format!("r.example/web:v1@sha256:{}", digit.repeat(64)).parse().unwrap()
    }

    fn order(node: &mut Node, term: u64, fetches: &[(&str, u64)]) -> (Outcome, Vec<Effect>) {
        let images = fetches.iter().map(|(digit, deploy)| (image(digit), DeployId(*deploy))).collect();
        let order = Order::Fetch { term: Term(term), images };
        let (ack, effects) = node.order(order, &BTreeSet::new(), Timestamp(1));
        assert_eq!(ack.alloc, None);
        (ack.outcome, effects)
    }

    fn fetch(errand: u64, digit: &str) -> Effect {
        Effect::Fetch { errand, image: image(digit) }
    }

    fn refused() -> Failure {
        Failure::PullFailed { detail: "refused".to_owned() }
    }

    fn failing(failures: u32) -> FetchState {
        FetchState::Failing(Failing { failures, last: refused() })
    }

    /// What the leader is told now: images by their digits.
    fn told(node: &mut Node) -> Option<Vec<(ImageRef, u64, FetchState)>> {
        let news = node.fetch_news()?;
        Some(news.into_iter().map(|(image, fetch)| (image, fetch.deploy.0, fetch.state)).collect())
    }

    #[test]
    fn the_same_order_again_begins_nothing_and_another_lets_go() {
        let mut node = Node::default();
        node.open(Term(1)).unwrap();
        let (_, begun) = order(&mut node, 1, &[("a", 7), ("b", 7)]);
        assert_eq!(begun, [fetch(1, "a"), fetch(2, "b")]);
        assert_eq!(order(&mut node, 1, &[("a", 7), ("b", 7)]), (Outcome::Accepted, vec![]));
        let (_, changed) = order(&mut node, 1, &[("b", 7), ("c", 7)]);
        assert_eq!(changed, [Effect::LetGo { errand: 1 }, fetch(3, "c")]);
        assert_eq!(node.fetched(1, Ok(())), None);
        let under_way = |digit| (image(digit), 7, FetchState::UnderWay);
        assert_eq!(told(&mut node), Some(vec![under_way("b"), under_way("c")]), "of what was let go nothing");
        assert_eq!(told(&mut node), None, "once");
    }

    #[test]
    fn what_fails_is_tried_again_and_counted_until_it_comes_or_another_deploy_wants_it() {
        let mut node = Node::default();
        node.open(Term(1)).unwrap();
        order(&mut node, 1, &[("a", 7)]);
        for failures in 1..=4 {
            assert_eq!(node.fetched(1, Err(refused())), Some(Effect::FetchLater { errand: 1, failures }));
            assert_eq!(told(&mut node), Some(vec![(image("a"), 7, failing(failures))]));
            assert_eq!(node.fetch_again(1), Some(fetch(1, "a")));
        }
        assert_eq!(told(&mut node), None, "the next attempt is no news");
        assert_eq!(order(&mut node, 1, &[("a", 8)]).1, [Effect::LetGo { errand: 1 }, fetch(2, "a")]);
        assert_eq!((node.fetch_again(1), node.fetched(1, Ok(()))), (None, None));
        assert_eq!(told(&mut node), Some(vec![(image("a"), 8, FetchState::UnderWay)]));
        assert_eq!(node.fetched(2, Ok(())), None);
        assert_eq!(told(&mut node), Some(vec![(image("a"), 8, FetchState::Here)]));
        // The later deploy has ended, the earlier one goes on: what is here is here.
        assert_eq!(order(&mut node, 1, &[("a", 7)]).1, []);
    }

    #[test]
    fn another_session_hears_what_is_wanted_and_how_it_is() {
        let mut node = Node::default();
        node.open(Term(1)).unwrap();
        order(&mut node, 1, &[("a", 7)]);
        node.fetched(1, Ok(()));
        node.fetch_news();
        let inventory = node.open(Term(2)).unwrap();
        assert_eq!(inventory.fetches, Fetches::from([(image("a"), DeployId(7))]));
        assert_eq!(told(&mut node), Some(vec![(image("a"), 7, FetchState::Here)]));
        let stale = Refusal::StaleTerm { given: Term(1), seen: Term(2) };
        assert_eq!(order(&mut node, 1, &[]), (Outcome::Refused(stale), vec![]));
        assert_eq!(order(&mut node, 2, &[]).1, [Effect::LetGo { errand: 1 }]);
        assert_eq!(node.open(Term(3)).unwrap().fetches, Fetches::new());
        assert_eq!(told(&mut node), None, "there is nothing to tell");
    }

    #[test]
    fn what_is_wanted_counts_as_in_use() {
        let mut node = Node::default();
        node.open(Term(1)).unwrap();
        order(&mut node, 1, &[("a", 7)]);
        assert_eq!(node.images(), None, "more may be in use than is known");
        assert_eq!(node.caught_up(Term(1)), Ok(Effect::Collect));
        assert_eq!(node.images(), Some(image("a").digest.into_iter().collect()));
        order(&mut node, 1, &[]);
        assert_eq!(node.images(), Some(BTreeSet::new()));
    }
}
