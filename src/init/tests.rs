//! The format, there and back, and cut at every byte.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::format::Garbled;
use crate::{Failed, Kind, PROGRAM, Run};

fn run() -> Run {
    Run {
        argv: vec![b"sh".to_vec(), b"-c".to_vec(), b"".to_vec()],
        env: vec![b"A=1".to_vec(), b"B=".to_vec()],
        uid: 70,
        gid: 71,
        groups: vec![1, 2],
        capabilities: 0x8000_0000_a804_05fb,
        no_core: true,
        leased: false,
        terminal: (80, 24),
    }
}

fn texts() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec(vec(1..=255_u8, 0..20), 0..5)
}

proptest! {
    #[test]
    fn what_was_written_is_read(
        argv in texts(), env in texts(), groups in vec(any::<u32>(), 0..5),
        (uid, gid, capabilities, terminal) in any::<(u32, u32, u64, (u16, u16))>(),
        (no_core, leased) in any::<(bool, bool)>(),
    ) {
        let run = Run { argv, env, uid, gid, groups, capabilities, no_core, leased, terminal };
        prop_assert_eq!(Run::decode(&run.encode().unwrap()), Ok(run));
    }

    #[test]
    fn whatever_stands_in_a_file_is_read_or_refused(body in vec(any::<u8>(), 0..200)) {
        let length = u64::try_from(body.len()).unwrap().to_le_bytes();
        let bytes = [&b"millrun1"[..], &length, &body].concat();
        if let Ok(run) = Run::decode(&bytes) {
            prop_assert!(run.argv.len() + run.env.len() + run.groups.len() <= body.len());
        }
    }
}

#[test]
fn a_file_that_was_cut_or_grew_is_refused() {
    let bytes = run().encode().unwrap();
    for end in 0..bytes.len() {
        let wanted = if end < 8 { Garbled::Version } else { Garbled::Length };
        assert_eq!(Run::decode(&bytes[..end]), Err(wanted), "{end}");
    }
    assert_eq!(Run::decode(&[&bytes[..], b"x"].concat()), Err(Garbled::Length));
    assert_eq!(Run::decode(&[b"millrun2", &bytes[8..]].concat()), Err(Garbled::Version));
}

#[test]
fn a_text_that_the_kernel_would_cut_is_refused() {
    let cut = Run { env: vec![b"A=1\0B=2".to_vec()], ..run() };
    assert!(cut.encode().is_err());
}

#[test]
fn a_failure_tells_its_kind_and_its_sentence() {
    for (kind, code) in [(Kind::NotFound, 127), (Kind::NotExecutable, 126), (Kind::Unprepared, 125)] {
        let failed = Failed { kind, said: "no".to_owned() };
        assert_eq!(failed.to_bytes()[0], code);
        assert_eq!(Failed::from_bytes(&failed.to_bytes()), Some(failed));
    }
    assert_eq!(Failed::from_bytes(b""), None);
}

#[test]
fn values_are_not_shown() {
    let text = format!("{:?}", Run { env: vec![b"PASSWORD=hunter2".to_vec()], ..run() });
    assert!(!text.contains("hunter2") && !text.contains("PASSWORD"), "{text}");
}

/// An ELF file of this machine without `PT_INTERP` (3) and without `DT_NEEDED` asks for nothing that an image may lack.
#[test]
fn the_program_is_small_and_needs_nothing_of_the_image() {
    assert!(PROGRAM.starts_with(b"\x7fELF\x02\x01"));
    assert!(PROGRAM.len() < 2 << 20, "{} bytes", PROGRAM.len());
    let number = |at: usize, size: usize| {
        PROGRAM[at..at + size].iter().rev().fold(0_usize, |value, byte| value << 8 | usize::from(*byte))
    };
    let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    let kinds: Vec<usize> = (0..count).map(|index| number(table + index * size, 4)).collect();
    assert!(kinds.contains(&1) && !kinds.contains(&3), "{kinds:?}");
}
