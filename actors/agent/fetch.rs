//! Images that the leader wants here before allocs need them.

use mill_control::dispatch::News;
use mill_drivers::bundle::Drivers;
use mill_model::{Failure, ImageRef};
use tracing::{debug, info};

use super::{Agent, Msg, State};
use crate::images;
use crate::kit::{Crash, Me, Task, Timer};

/// An image on its way.
#[expect(dead_code, reason = "it is held: dropped, it is let go")]
pub(super) enum Errand {
    /// The room of images is asked for it.
    Asked(Task),
    /// It failed, and is asked for again later.
    Later(Timer),
}

impl<D: Drivers> State<D> {
    pub(super) fn fetch(&mut self, me: &Me<Agent<D>>, errand: u64, image: ImageRef) {
        info!(%image, "fetching an image ahead of its allocs");
        let (images, tempo) = (self.images.clone(), me.tempo().clone());
        let get = async move { images::get(&images, &image, &tempo).await };
        let task = me.task("fetch", get, move |result| Msg::Fetched { errand, result });
        self.errands.insert(errand, Errand::Asked(task));
    }

    pub(super) fn fetch_later(&mut self, me: &Me<Agent<D>>, errand: u64, failures: u32) {
        let timer = me.after(me.tempo().restart_delay(failures), Msg::FetchAgain { errand });
        self.errands.insert(errand, Errand::Later(timer));
    }

    pub(super) fn fetched(
        &mut self,
        me: &Me<Agent<D>>,
        errand: u64,
        result: Result<(), Failure>,
    ) -> Result<(), Crash> {
        self.errands.remove(&errand);
        let effect = self.node.fetched(errand, result);
        self.tell_of_images();
        self.carry_out(me, effect)
    }

    pub(super) fn fetch_again(&mut self, me: &Me<Agent<D>>, errand: u64) -> Result<(), Crash> {
        let effect = self.node.fetch_again(errand);
        self.carry_out(me, effect)
    }

    /// Tells how images are that were asked for, if that changed. What no session hears, the next one does.
    pub(super) fn tell_of_images(&mut self) {
        let Some(news) = self.node.fetch_news() else { return };
        self.pulls.tell_ahead(self.home.node.clone(), news.clone());
        if self.leader.as_ref().is_some_and(|leader| leader.tell(News::Images(news)).is_err()) {
            debug!("the leader's session is away; the next one hears of the images");
        }
    }
}
