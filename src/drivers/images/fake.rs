//! Images in memory: a registry that can be told to lack, refuse, stall and lie.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mill_model::{Digest, ImageRef, Timestamp};

use super::config::sha256;
use super::{Collected, Images, Layer, Login, Logins, Progress, PullError, Stored};

/// Images of a node in a test. Clones share state.
#[derive(Debug, Clone, Default)]
pub struct FakeImages {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// What tags mean: by registry, repository and tag.
    tags: BTreeMap<String, Digest>,
    missing: BTreeSet<String>,
    logins: Logins,
    /// Registries that let in whoever is known so, and nobody else.
    wanted: Logins,
    failures: Vec<PullError>,
    slow: Duration,
    stored: BTreeMap<Digest, Stored>,
    pulls: u32,
    collections: u32,
}

impl FakeImages {
    /// What a tag means from now on. A tag that was never set means a digest made from its name.
    pub fn set_tag(&self, image: &ImageRef, digest: Digest) {
        self.state().tags.insert(key(image), digest);
    }

    /// The registry doesn't have this image (whatever its tag or digest).
    pub fn lose(&self, image: &ImageRef) {
        self.state().missing.insert(format!("{}/{}", image.registry, image.repository));
    }

    /// From now on a registry lets in whoever is known so, and nobody else.
    pub fn lock(&self, registry: &str, login: Login) {
        self.state().wanted.insert(registry.to_owned(), login);
    }

    /// The next call to a registry fails so; several are used up in order.
    pub fn fail_next(&self, error: PullError) {
        self.state().failures.push(error);
    }

    /// Each call to a registry takes this long.
    pub fn slow_down(&self, each: Duration) {
        self.state().slow = each;
    }

    /// Forgets an image behind Mill's back.
    pub fn forget(&self, digest: &Digest) {
        self.state().stored.remove(digest);
    }

    /// Pulls that reached the registry.
    pub fn pulls(&self) -> u32 {
        self.state().pulls
    }

    /// How often what is unused was removed.
    pub fn collections(&self) -> u32 {
        self.state().collections
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a registry does before it answers.
    async fn ask(&self, image: &ImageRef) -> Result<(), PullError> {
        let slow = self.state().slow;
        if !slow.is_zero() {
            tokio::time::sleep(slow).await;
        }
        let mut state = self.state();
        if !state.failures.is_empty() {
            return Err(state.failures.remove(0));
        }
        let login = state.logins.get(&image.registry);
        if state.wanted.get(&image.registry).is_some_and(|wanted| login != Some(wanted)) {
            let user = login.map(|login| login.user.clone());
            return Err(PullError::Unauthorized { image: image.clone().into(), status: 401, user });
        }
        match state.missing.contains(&format!("{}/{}", image.registry, image.repository)) {
            true => Err(PullError::NoSuchImage { image: image.clone().into() }),
            false => Ok(()),
        }
    }
}

/// Half of an image: there, or on its way.
fn layer(digest: &Digest, unpacked: bool) -> Layer {
    Layer { digest: digest.clone(), bytes_done: if unpacked { 512 } else { 0 }, bytes_total: 512, unpacked }
}

fn key(image: &ImageRef) -> String {
    format!("{}/{}:{}", image.registry, image.repository, image.tag.as_deref().unwrap_or_default())
}

impl Images for FakeImages {
    fn know(&self, logins: Logins) {
        self.state().logins = logins;
    }

    async fn resolve(&self, image: &ImageRef) -> Result<Digest, PullError> {
        if let Some(digest) = &image.digest {
            return Ok(digest.clone());
        }
        self.ask(image).await?;
        let told = self.state().tags.get(&key(image)).cloned();
        match told {
            Some(digest) => Ok(digest),
            None => sha256(key(image).as_bytes())
                .parse()
                .map_err(|_| PullError::NotPinned { image: image.clone().into() }),
        }
    }

    async fn pull(
        &self,
        image: &ImageRef,
        progress: impl Fn(Progress) + Send + Sync,
    ) -> Result<(), PullError> {
        let Some(digest) = image.digest.clone() else {
            return Err(PullError::NotPinned { image: image.clone().into() });
        };
        if self.state().stored.contains_key(&digest) {
            return Ok(());
        }
        let (low, high) = (layer(&digest, true), layer(&digest, false));
        progress(Progress { layers: vec![low.clone(), high], trouble: None });
        self.ask(image).await?;
        progress(Progress { layers: vec![low.clone(), low], trouble: None });
        let mut state = self.state();
        state.pulls += 1;
        let image = ImageRef { tag: None, ..image.clone() };
        let stored = Stored { image, digest: digest.clone(), bytes: 1024, pulled_at: Timestamp(0) };
        state.stored.insert(digest, stored);
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Stored>, PullError> {
        Ok(self.state().stored.values().cloned().collect())
    }

    async fn remove_unused(&self, keep: &BTreeSet<Digest>) -> Result<Collected, PullError> {
        let mut state = self.state();
        state.collections += 1;
        let before = state.stored.len();
        state.stored.retain(|digest, _| keep.contains(digest));
        let images = u32::try_from(before - state.stored.len()).unwrap_or(u32::MAX);
        Ok(Collected { images, snapshots: images * 2, bytes: u64::from(images) * 1024 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_fake_pulls_once_forgets_and_fails_as_told() {
        let images = FakeImages::default();
        let web: ImageRef = "web:v1".parse().unwrap();
        let pinned = web.pinned(images.resolve(&web).await.unwrap());
        for _ in 0..2 {
            images.pull(&pinned, |_| {}).await.unwrap();
        }
        assert_eq!(images.pulls(), 1);
        let digest = pinned.digest.clone().unwrap();
        assert_eq!(images.remove_unused(&[digest.clone()].into()).await.unwrap().images, 0);
        images.forget(&digest);
        images.lose(&web);
        assert!(matches!(images.pull(&pinned, |_| {}).await, Err(PullError::NoSuchImage { .. })));
        assert!(matches!(images.pull(&web, |_| {}).await, Err(PullError::NotPinned { .. })));
    }
}
