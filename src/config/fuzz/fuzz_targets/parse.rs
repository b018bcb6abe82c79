//! Any bytes: no panic, no hang, nothing that a terminal would act on, and what is accepted prints as itself.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mill_config::{ClusterFacts, Look, Source, parse, parse_bytes, print};

fuzz_target!(|bytes: &[u8]| {
    match parse_bytes("fuzz.kdl", bytes, Some("fuzz")) {
        Ok(parsed) => {
            let printed = print(&parsed.spec);
            let again = parse(&Source { file: "printed", text: &printed, default_project: None });
            assert_eq!(again.map(|again| again.spec).as_ref(), Ok(&parsed.spec), "{printed}");
            parsed.unserved();
            parsed.against(&ClusterFacts::default());
        }
        Err(complaints) => {
            assert!(!complaints.list.is_empty());
            let drawn = complaints.render(&String::from_utf8_lossy(bytes), Look::default());
            assert!(!drawn.contains('\u{1b}'));
        }
    }
});
