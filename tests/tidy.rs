//! The house keeps its own rules: what a compiler and clippy can't see is read off the files here.
//!
//! A [`Rule`] carries a little tree that breaks it and one that keeps it, so that none can rot into a rule that
//! nothing could ever fail.

mod arrow;
mod deciders;
mod forbidden;
mod rooms;
mod tree;

use tree::Tree;

/// Paths and texts of files, for a tree made by hand.
type Files = &'static [(&'static str, &'static str)];

/// Something that holds for the whole tree.
struct Rule {
    /// What is wrong, and where; empty when the rule holds.
    check: fn(&Tree) -> Vec<String>,
    /// Trees of which each must be complained about.
    breaks: &'static [Files],
    /// A tree that must pass, as near to the broken ones as can be.
    keeps: Files,
}

impl Rule {
    fn holds(&self) {
        for files in self.breaks {
            let complaints = (self.check)(&Tree::of(files));
            assert!(!complaints.is_empty(), "the rule lets this pass:\n{files:#?}");
        }
        let complaints = (self.check)(&Tree::of(self.keeps));
        assert!(complaints.is_empty(), "the rule is too strict:\n{complaints:#?}\nabout {:#?}", self.keeps);
        let complaints = (self.check)(Tree::real());
        assert!(complaints.is_empty(), "\n  {}\n", complaints.join("\n  "));
    }
}

/// A test per rule, named by what it says.
macro_rules! rules {
    ($($name:ident: $rule:expr;)+) => {
        $(#[test]
        fn $name() {
            $rule.holds();
        })+
    };
}

rules! {
    crates_name_only_crates_of_earlier_rows: arrow::ARROW;
    every_crate_is_a_member_with_the_workspace_lints: arrow::MEMBERS;
    deciders_hold_no_crate_that_does_io: arrow::DECIDERS;
    a_panic_unwinds_in_every_profile: arrow::UNWIND;
    deciders_ask_no_clock_disk_socket_or_hash_map: deciders::SOURCES;
    clippy_is_told_the_same_in_every_decider: deciders::CLIPPY;
    files_have_at_most_500_lines: forbidden::LENGTH;
    traits_are_async_by_themselves: forbidden::ASYNC_TRAIT;
    no_test_is_ignored: forbidden::IGNORED;
    no_test_sleeps: forbidden::SLEEPS;
    unsafe_stays_with_the_drivers_and_init: forbidden::UNSAFE;
    nothing_is_left_for_later: forbidden::LATER;
    every_module_says_what_it_is: rooms::HEADERS;
    every_actor_says_what_it_owns_and_who_restarts_it: rooms::ACTORS;
    every_source_file_is_part_of_a_crate: rooms::FORGOTTEN;
    every_example_config_is_read_by_a_test: rooms::EXAMPLES;
    every_story_is_told_of: rooms::STORIES;
    promises_name_tests_that_exist: rooms::PROMISES;
}
