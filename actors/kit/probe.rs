//! A neighbour for tests of one room: an actor that hands every message it is told to the test.

use std::sync::Arc;

use mill_model::Tempo;
use serde_json::Value;
use tokio::sync::mpsc;

use super::{Actor, Crash, Me, Message, Tree};

/// Starts a neighbour; what it is told comes out at the other end. It lives as long as the tree is held.
pub(crate) async fn probe<M: Message>(name: &str) -> (Tree<M>, mpsc::UnboundedReceiver<M>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let tree = Tree::start::<Probe<M>>(name, sender, Arc::new(Tempo::default())).await;
    (tree.unwrap_or_else(|error| panic!("{error}")), receiver)
}

struct Probe<M>(std::marker::PhantomData<fn() -> M>);

impl<M: Message> Actor for Probe<M> {
    type Msg = M;
    type Args = mpsc::UnboundedSender<M>;
    type State = mpsc::UnboundedSender<M>;

    async fn start(_me: &Me<Self>, args: Self::Args) -> Result<Self::State, Crash> {
        Ok(args)
    }

    async fn handle(_me: &Me<Self>, msg: M, state: &mut Self::State) -> Result<(), Crash> {
        let _ = state.send(msg);
        Ok(())
    }

    fn observe(_state: &Self::State) -> Value {
        Value::Null
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Hello;

    impl Message for Hello {
        fn name(&self) -> &'static str {
            "hello"
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_neighbour_is_told_reaches_the_test() {
        let (tree, mut told) = probe::<Hello>("neighbour").await;
        tree.root().tell(Hello).unwrap();
        assert!(told.recv().await.is_some());
    }
}
