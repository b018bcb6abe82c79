//! Programs without a port: ones that end, eat, talk, wait, or won't go.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::life::{self, Asked};
use crate::settings;

/// Ends after `$AFTER_MS` with `$CODE`, or by a signal if `$HOW` is `abort`.
pub(crate) fn exit(mut asked: Asked) -> io::Result<ExitCode> {
    thread::spawn(move || asked.wait().map(|()| std::process::exit(0)));
    thread::sleep(settings::millis("AFTER_MS", 0)?);
    let code = settings::number("CODE", 0)?;
    let how = settings::text("HOW", "code");
    life::say(&format!("ending with {how} {code} at {}", life::unix_ms()));
    match how.as_str() {
        "code" => Ok(ExitCode::from(code)),
        // The first process of a container survives the SIGABRT that it sends itself; abort(3) then executes an
        // illegal instruction, and the kernel's SIGSEGV ends it.
        "abort" => std::process::abort(),
        _ => Err(io::Error::other(format!("$HOW is `code` or `abort`, not `{how}`"))),
    }
}

/// Takes `$HOG_MB` of memory after `$AFTER_MS`, says so, and keeps it until asked to end.
pub(crate) fn hog(mut asked: Asked) -> io::Result<ExitCode> {
    const PAGE: usize = 4096;
    let megabytes: usize = settings::number("HOG_MB", 64)?;
    let after = settings::millis("AFTER_MS", 0)?;
    thread::spawn(move || {
        thread::sleep(after);
        let mut held = Vec::new();
        for taken in 1..=megabytes {
            let mut block = vec![0_u8; 1 << 20];
            // an untouched page costs nothing, and the kernel knows it
            block.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
            held.push(std::hint::black_box(block));
            if taken % 16 == 0 {
                life::say(&format!("holding {taken} MB"));
            }
        }
        life::say(&format!("holding all {} MB", held.len()));
        loop {
            thread::park();
        }
    });
    asked.wait()?;
    Ok(ExitCode::SUCCESS)
}

/// Writes `LINE NUMBER` lines, odd ones to stdout, even ones to stderr, at `$RATE` a second, until `$COUNT` or
/// asked to end; says how far it came.
pub(crate) fn chatter(mut asked: Asked) -> io::Result<ExitCode> {
    let rate: u32 = settings::number("RATE", 100)?;
    let count: u64 = settings::number("COUNT", u64::MAX)?;
    let pause = Duration::from_secs(1) / rate.max(1);
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    thread::spawn(move || asked.wait().map(|()| told.store(true, Ordering::Relaxed)));
    let begun = Instant::now();
    let mut written = 0_u64;
    while written < count && !stop.load(Ordering::Relaxed) {
        written += 1;
        match written % 2 {
            1 => life::say(&format!("line {written}")),
            _ => life::complain(&format!("line {written}")),
        }
        // against the start, not the last line, so that slow writes don't change the rate
        let due = pause.saturating_mul(u32::try_from(written).unwrap_or(u32::MAX));
        thread::sleep(due.saturating_sub(begun.elapsed()));
    }
    life::say(&format!("wrote {written} lines"));
    Ok(ExitCode::SUCCESS)
}

/// Does nothing until asked to end.
pub(crate) fn sleeper(mut asked: Asked) -> io::Result<ExitCode> {
    asked.wait()?;
    life::say("asked to end");
    Ok(ExitCode::SUCCESS)
}

/// Does nothing, asked or not: only SIGKILL ends it.
pub(crate) fn stubborn(mut asked: Asked) -> io::Result<ExitCode> {
    loop {
        asked.wait()?;
        life::say(&format!("won't go, asked at {}", life::unix_ms()));
    }
}
