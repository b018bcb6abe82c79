//! A bad new version changes nothing for the users of the old one (product.md P5).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::{Pace, Story, Tell};
use crate::harness::cli::{Mill, Ran};
use crate::harness::failed::expect;
use crate::harness::json::Fields as _;
use crate::harness::world::{self, endpoint};
use crate::harness::{Context as _, Failed, World, http};

pub(super) const ROLL_BACK: Story =
    Story { name: "bad_versions_roll_back", pace: Pace::Brisk, tell: Tell::Node(roll_back) };

const REPLICAS: usize = 2;

/// A way to be bad: what the config says instead, and what the refusal must say of it.
struct Bad {
    what: &'static str,
    image: &'static str,
    fields: &'static str,
    says: &'static [&'static str],
}

const BAD: &[Bad] = &[
    Bad {
        what: "never healthy",
        image: "apps:1",
        fields: "command \"never-healthy\"",
        says: &["503", "listening on"],
    },
    Bad {
        what: "crashes at start",
        image: "apps:1",
        fields: "command \"exit\"\nenv { CODE \"7\"; AFTER_MS \"50\" }",
        says: &["exited with code 7", "ending with code 7"],
    },
    Bad {
        what: "dies by a signal",
        image: "apps:1",
        fields: "command \"exit\"\nenv { HOW \"abort\" }",
        says: &["signal", "ending with abort"],
    },
    Bad { what: "no such image", image: "hello:v404", fields: "", says: &["no such image", "hello:v404"] },
    Bad {
        what: "no such command",
        image: "apps:1",
        fields: "entrypoint \"/no-such-program\"",
        says: &["no such program", "/no-such-program"],
    },
    Bad {
        what: "no such user",
        image: "apps:1",
        fields: "command \"hello\"\nuser \"nobody-here\"",
        says: &["no such user", "nobody-here"],
    },
    Bad {
        what: "takes too much memory",
        image: "apps:1",
        fields: "command \"hog\"\nenv { HOG_MB \"256\" }",
        says: &["out of memory"],
    },
];

fn config(image: &str, fields: &str, order: &str) -> String {
    format!(
        r#"project "shop"
service "web" {{
    image IMAGE({image})
    port 3000
    replicas {REPLICAS}
    cpu 0.1
    memory "48M"
    health path="/health" interval="500ms" retries=2 start-period="2s"
    stop grace="3s" drain="1s"
    update order="{order}" deadline="2m"
    {fields}
}}
"#
    )
}

/// Counts the healthy allocs all the while, and keeps the lowest count.
struct Watch {
    stop: Arc<AtomicBool>,
    lowest: Arc<AtomicUsize>,
    watcher: thread::JoinHandle<Result<(), Failed>>,
}

impl Watch {
    fn begin(mill: &Mill) -> Self {
        let (stop, lowest) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(usize::MAX)));
        let (told, seen, mill) = (Arc::clone(&stop), Arc::clone(&lowest), mill.clone());
        let watcher = thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                let allocs = world::allocs(&mill, "shop", "web")?;
                // a healthy alloc of the bad version would be a finding, too: there is none in the table
                seen.fetch_min(
                    allocs.iter().filter(|alloc| alloc.is("/phase", "healthy")).count(),
                    Ordering::Relaxed,
                );
            }
            Ok(())
        });
        Self { stop, lowest, watcher }
    }

    fn end(self) -> Result<usize, Failed> {
        self.stop.store(true, Ordering::Relaxed);
        self.watcher.join().map_err(|_| Failed::because("the watcher panicked"))??;
        Ok(self.lowest.load(Ordering::Relaxed))
    }
}

fn roll_back(world: &mut World) -> Result<(), Failed> {
    for order in ["start-first", "stop-first"] {
        world.deploy_ok(&config("hello:v1", "", order)).or_fail(format_args!("the good version, {order}"))?;
        world.settled("shop", "web", REPLICAS)?;
        let held = world.held()?;
        for bad in BAD {
            let watch = Watch::begin(&world.mill);
            let ran = world.deploy(&config(bad.image, bad.fields, order))?;
            let lowest = watch.end()?;
            told_as_promised(bad, &ran).or_fail(format_args!("{}, {order}", bad.what))?;
            if order == "start-first" {
                expect(lowest >= REPLICAS, "the old version kept its full count", (bad.what, lowest))?;
            }
            let allocs = world.settled("shop", "web", REPLICAS)?;
            for alloc in &allocs {
                let answer = http::get(endpoint(alloc)?, "/version")?;
                expect(answer.body == "v1", "the old version answers", (bad.what, &answer))?;
            }
            world.holds_again(&held).or_fail(format_args!("after {}, {order}", bad.what))?;
        }
    }
    Ok(())
}

fn told_as_promised(bad: &Bad, ran: &Ran) -> Result<(), Failed> {
    expect(ran.code == 1, "exit code 1", ran)?;
    let text = ran.all();
    for words in bad.says {
        expect(text.contains(words), &format!("the reason and last log lines say `{words}`"), ran)?;
    }
    Ok(())
}
