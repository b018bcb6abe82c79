//! Images that come before the allocs that need them.

use mill_control::fetch::{Fetch, FetchState, Fetches};
use mill_drivers::images::PullError;
use mill_model::{ImageRef, limits};

use super::*;

/// The image of [`assignment`], and another.
fn image(repository: &str) -> ImageRef {
    let digit = if repository == "web" { "a" } else { "b" };
    format!("r.example/{repository}:v1@sha256:{}", digit.repeat(64)).parse().unwrap()
}

impl World {
    /// The leader wants these for its first deploy.
    async fn want(&self, images: &[&str]) {
        let images: Fetches = images.iter().map(|name| (image(name), DeployId(1))).collect();
        assert_eq!(self.order(Order::Fetch { term: TERM, images }).await, Outcome::Accepted);
    }

    /// What the leader heard last of an image.
    fn heard_of(&self, name: &str) -> Option<FetchState> {
        let images = self.images.lock().unwrap();
        images.last()?.get(&image(name)).map(|fetch| fetch.state.clone())
    }

    /// What it heard of an image, each thing once, in words.
    fn heard_all(&self, name: &str) -> Vec<String> {
        let word = |fetch: &Fetch| match &fetch.state {
            FetchState::UnderWay => "under way".to_owned(),
            FetchState::Here => "here".to_owned(),
            FetchState::Failing(failing) => format!("failed {}", failing.failures),
        };
        let images = self.images.lock().unwrap();
        let mut words: Vec<String> =
            images.iter().filter_map(|said| said.get(&image(name))).map(word).collect();
        words.dedup();
        words
    }

    #[track_caller]
    fn until_here(&self, name: &str) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        async move {
            let here = async || self.heard_of(name) == Some(FetchState::Here);
            until(&format!("{name} is here ({place})"), here).await;
        }
    }

    /// Everything that the registry says for one errand fails.
    fn fail_errands(&self, errands: u32) {
        for _ in 0..errands * limits::PULL_ATTEMPTS_MAX {
            let url = "https://r.example/v2/".to_owned();
            self.fakes.images.fail_next(PullError::Registry { url, status: 503 });
        }
    }
}

#[tokio::test(start_paused = true)]
async fn all_images_come_at_once_and_an_allocs_pull_joins_the_one_under_way() {
    let world = World::new().await;
    world.fakes.images.slow_down(secs(10));
    let begun = Instant::now();
    world.want(&["web", "db"]).await;
    assert!(begun.elapsed() < secs(1), "the order waits for nothing");
    tokio::time::sleep(secs(5)).await;
    world.run(without_ports(plain())).await;
    world.until_here("db").await;
    world.until_here("web").await;
    world.hear(Phase::Starting, 1).await;
    assert!(begun.elapsed() < secs(11), "{:?}", begun.elapsed());
    assert_eq!(world.fakes.images.pulls(), 2);
    assert_eq!(world.heard_all("web"), ["under way", "here"]);
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_is_tried_again_with_growing_pauses_until_it_comes() {
    let world = World::new().await;
    world.fail_errands(3);
    let begun = Instant::now();
    world.want(&["web"]).await;
    world.until_here("web").await;
    assert_eq!(world.heard_all("web"), ["under way", "failed 1", "failed 2", "failed 3", "here"]);
    // One second, five, thirty; and the pauses within each errand.
    assert!((secs(36)..secs(36 + 3 * 10)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_exist_is_said_at_once() {
    let world = World::new().await;
    world.fakes.images.lose(&image("web"));
    world.want(&["web"]).await;
    let failed =
        async || matches!(world.heard_of("web"), Some(FetchState::Failing(failing)) if failing.is_final());
    until("it is told that there is no such image", failed).await;
    let Some(FetchState::Failing(failing)) = world.heard_of("web") else { panic!("it was just so") };
    assert!(
        matches!(&failing.last, Failure::NoSuchImage { detail } if detail.contains("web:v1")),
        "{failing:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_let_go_is_asked_for_no_more_and_said_no_more() {
    let world = World::new().await;
    world.fakes.images.lose(&image("web"));
    world.fakes.images.slow_down(secs(10));
    world.want(&["web", "db"]).await;
    until("one has failed", async || matches!(world.heard_of("web"), Some(FetchState::Failing(_)))).await;
    world.want(&[]).await;
    assert_eq!((world.heard_of("web"), world.heard_of("db")), (None, None));
    let said = world.images.lock().unwrap().len();
    let fetches = async || {
        let tree = world.tree().introspect().tree().await;
        tree.observed.get("fetches").cloned()
    };
    assert_eq!(fetches().await, Some(0.into()));
    tokio::time::sleep(secs(300)).await;
    assert_eq!(world.images.lock().unwrap().len(), said);
    assert_eq!(fetches().await, Some(0.into()));
}

#[tokio::test(start_paused = true)]
async fn an_image_is_kept_as_long_as_it_is_wanted_and_for_an_hour_more() {
    let world = World::new().await;
    world.ask(|reply| Msg::CaughtUp { term: TERM, reply }).await.unwrap();
    world.want(&["web"]).await;
    world.until_here("web").await;
    tokio::time::sleep(secs(3 * 3600)).await;
    assert_eq!(world.fakes.images_stored().await, 1, "a deploy may take long");
    world.want(&[]).await;
    let let_go = Instant::now();
    until("it is gone", async || world.fakes.images_stored().await == 0).await;
    let kept = let_go.elapsed();
    assert!((secs(3600 - 61)..secs(3600 + 122)).contains(&kept), "{kept:?}");
}

#[tokio::test(start_paused = true)]
async fn a_new_session_hears_how_they_are_and_a_new_daemon_is_asked_again() {
    let mut world = World::new().await;
    world.want(&["web"]).await;
    world.until_here("web").await;
    world.images.lock().unwrap().clear();
    let inventory = world.open(TERM).await.unwrap();
    assert_eq!(inventory.fetches, Fetches::from([(image("web"), DeployId(1))]));
    world.until_here("web").await;

    world.images.lock().unwrap().clear();
    world.restart_daemon(secs(1)).await;
    assert_eq!(world.open(TERM).await.unwrap().fetches, Fetches::new());
    world.want(&["web"]).await;
    world.until_here("web").await;
    assert_eq!(world.fakes.images.pulls(), 1, "it was here");
}
