use std::sync::Arc;
use std::time::Duration;

use mill_drivers::bundle::Fakes;
use mill_drivers::images::Progress;
use mill_model::Tempo;

use super::*;
use crate::kit::Tree;

fn image(repository: &str, digit: &str) -> ImageRef {
    format!("r.example/{repository}:v1@sha256:{}", digit.repeat(64)).parse().unwrap()
}

struct Room {
    fakes: Fakes,
    pulls: Pulls,
    tree: Tree<Msg>,
}

impl Room {
    /// A room whose registry needs a second for each answer.
    async fn new() -> Self {
        let (fakes, pulls) = (Fakes::default(), Pulls::default());
        fakes.images.slow_down(Duration::from_secs(1));
        let args = Args { drivers: fakes.clone(), pulls: pulls.clone() };
        let tree = Tree::start::<Images<Fakes>>("images", args, Arc::new(Tempo::default())).await.unwrap();
        Self { fakes, pulls, tree }
    }

    async fn pull(&self, image: &ImageRef) -> Result<(), Failure> {
        let ask = |reply| Msg::Pull { image: image.clone(), reply };
        self.tree.root().ask(Duration::from_secs(60), ask).await.unwrap()
    }

    /// Waits until somebody looking sees these pulls.
    async fn shows(&self, wanted: &[&ImageRef]) -> BTreeMap<ImageRef, Progress> {
        let wanted: BTreeSet<ImageRef> = wanted.iter().map(|image| image.untagged()).collect();
        for _ in 0..100 {
            let now = self.pulls.now();
            if now.keys().cloned().collect::<BTreeSet<_>>() == wanted {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{wanted:?} isn't shown: {:?}", self.pulls.now());
    }
}

#[tokio::test(start_paused = true)]
async fn each_image_is_pulled_once_however_many_ask_and_two_are_pulled_at_once() {
    let room = Room::new().await;
    let (web, db) = (image("web", "a"), image("db", "b"));
    // Another tag of the same image is the same image.
    let also_web: ImageRef = web.to_string().replace(":v1", ":v2").parse().unwrap();
    let begun = Instant::now();
    let pulls =
        async { tokio::join!(room.pull(&web), room.pull(&also_web), room.pull(&db), room.pull(&web)) };
    let look = async {
        let shown = room.shows(&[&web, &db]).await;
        let web = &shown[&web.untagged()];
        assert_eq!((web.bytes_done(), web.bytes_total(), web.unpacked()), (512, 1024, 1));
    };
    let (pulled, ()) = tokio::join!(pulls, look);
    assert_eq!(pulled, (Ok(()), Ok(()), Ok(()), Ok(())));
    assert_eq!(room.fakes.images.pulls(), 2);
    assert_eq!(begun.elapsed(), Duration::from_secs(1), "side by side");
    room.shows(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn one_digest_of_two_repositories_is_here_under_both_names() {
    let room = Room::new().await;
    let (web, copy) = (image("web", "a"), image("mirror/web", "a"));
    let (one, two) = tokio::join!(room.pull(&web), room.pull(&copy));
    assert_eq!((one, two), (Ok(()), Ok(())));
    assert_eq!(room.fakes.images.pulls(), 2, "containers are started by the name that they ask for");
}

#[tokio::test(start_paused = true)]
async fn a_pull_that_stumbles_says_so_keeps_its_numbers_and_goes_on() {
    let room = Room::new().await;
    let web = image("web", "a");
    let url = "https://r.example/v2/".to_owned();
    room.fakes.images.fail_next(PullError::Registry { url, status: 503 });
    let look = async {
        // The first attempt has failed by now, the second begins a second later.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let shown = room.shows(&[&web]).await.remove(&web.untagged()).unwrap();
        let trouble = shown.trouble.as_deref().unwrap();
        assert!(trouble.contains("status 503"), "{trouble}");
        assert_eq!((shown.bytes_done(), shown.bytes_total()), (512, 1024));
    };
    let (pulled, ()) = tokio::join!(room.pull(&web), look);
    assert_eq!(pulled, Ok(()));
    room.shows(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_here_is_never_shown_as_on_its_way() {
    let room = Room::new().await;
    let web = image("web", "a");
    room.pull(&web).await.unwrap();
    let shown = async {
        let mut seen = 0;
        for _ in 0..50 {
            seen += room.pulls.now().len();
            tokio::task::yield_now().await;
        }
        seen
    };
    let (pulled, seen) = tokio::join!(room.pull(&web), shown);
    assert_eq!((pulled, seen), (Ok(()), 0));
}

#[tokio::test(start_paused = true)]
async fn what_came_of_a_pull_that_failed_is_removed_when_nobody_asks_for_an_hour() {
    let room = Room::new().await;
    let web = image("web", "a");
    room.fakes.images.lose(&web);
    assert!(room.pull(&web).await.is_err());
    let (failed, minute) = (Instant::now(), Duration::from_secs(60));
    let mut collected_after = vec![];
    for _ in 0..180 {
        let before = room.fakes.images.collections();
        room.tree.root().tell(Msg::Collect { used: BTreeSet::new() }).unwrap();
        tokio::time::sleep(minute).await;
        collected_after.extend((room.fakes.images.collections() > before).then(|| failed.elapsed()));
    }
    let [once] = collected_after[..] else { panic!("{collected_after:?}") };
    assert!((60 * minute..62 * minute).contains(&once), "{once:?}");
}
