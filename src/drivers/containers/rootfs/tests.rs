//! Images' files, friendly and hostile.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use super::*;

fn write(root: &Path, path: &str, bytes: &[u8], mode: u32) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A 64-bit ELF file with one program header that names its loader.
fn dynamic_binary(loader: &str) -> Vec<u8> {
    let mut elf = vec![0; 120];
    elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
    elf[32] = 64;
    elf[54] = 56;
    elf[56] = 1;
    elf[64] = 3;
    elf[72] = 120;
    elf[96] = u8::try_from(loader.len() + 1).unwrap();
    elf.extend_from_slice(loader.as_bytes());
    elf.push(0);
    elf
}

fn question(program: &str) -> Question {
    Question {
        user: String::new(),
        program: program.to_owned(),
        path: "/usr/bin:/bin:relative".to_owned(),
        workdir: "/srv".to_owned(),
        has_mounts: false,
        owners: vec![],
    }
}

#[test]
fn programs_are_found_as_the_kernel_will_find_them_and_never_outside_the_image() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    write(root, "bin/sh", b"static", 0o755);
    write(root, "bin/run", b"#! /bin/sh -e\n", 0o755);
    write(root, "bin/pyth", b"#!/usr/bin/python3\n", 0o755);
    write(root, "bin/nested", b"#!/bin/pyth\n", 0o755);
    write(root, "bin/plain", b"text", 0o644);
    write(root, "usr/bin/both", b"text", 0o644);
    write(root, "bin/both", b"static", 0o755);
    write(root, "bin/dyn", &dynamic_binary("/lib64/ld-linux-x86-64.so.2"), 0o755);
    write(root, "bin/dyn-ok", &dynamic_binary("/bin/sh"), 0o755);
    write(root, "srv/local", b"static", 0o755);
    write(root, "srv/relative/here", b"static", 0o755);
    // The node has /etc/passwd; the image hasn't. /proc/self/exe is the node's, too.
    symlink("/bin/sh", root.join("bin/absolute-link")).unwrap();
    symlink("../../../../../../bin/sh", root.join("bin/climbing-link")).unwrap();
    symlink("/proc/self/exe", root.join("bin/escaping-link")).unwrap();
    symlink("loop", root.join("bin/loop")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, root.join("bin/fifo"), rustix::fs::Mode::from_raw_mode(0o755))
        .unwrap();

    let lacks = |interpreter: &str| Err(Missing::Interpreter { interpreter: interpreter.to_owned() });
    let table = [
        ("sh", Ok(())),
        ("/bin/sh", Ok(())),
        ("run", Ok(())),
        ("./local", Ok(())),
        ("here", Ok(())),
        ("both", Ok(())),
        ("absolute-link", Ok(())),
        ("climbing-link", Ok(())),
        ("dyn-ok", Ok(())),
        ("nope", Err(Missing::NotFound)),
        ("/bin/nope", Err(Missing::NotFound)),
        ("sh/nope", Err(Missing::NotFound)),
        ("local", Err(Missing::NotFound)),
        ("escaping-link", Err(Missing::NotFound)),
        ("loop", Err(Missing::NotFound)),
        ("plain", Err(Missing::NotExecutable)),
        ("/bin", Err(Missing::NotExecutable)),
        ("fifo", Err(Missing::NotExecutable)),
        ("pyth", lacks("/usr/bin/python3")),
        ("nested", lacks("/usr/bin/python3")),
        ("dyn", lacks("/lib64/ld-linux-x86-64.so.2")),
    ];
    let files = Files::below(root).unwrap();
    for (program, wanted) in table {
        assert_eq!(program::check(&files, &question(program)), wanted, "{program}");
    }
}

#[test]
fn a_program_that_may_be_in_a_volume_is_left_to_the_first_process() {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::below(dir.path()).unwrap();
    let missing = answer(&files, &question("tool")).unwrap_err();
    assert!(matches!(missing, StartError::NoSuchCommand { reason: Missing::NotFound, .. }));
    assert!(answer(&files, &Question { has_mounts: true, ..question("tool") }).is_ok());
}

#[test]
fn files_belong_to_the_programs_user_unless_somebody_is_named() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "bin/sh", b"static", 0o755);
    write(dir.path(), "etc/passwd", b"app:x:1000:1001::/home/app:\ntls:x:70:71::/:\n", 0o644);
    let files = Files::below(dir.path()).unwrap();
    let asked = |owners: &[Option<&str>]| {
        let owners = owners.iter().map(|owner| owner.map(str::to_owned)).collect();
        answer(&files, &Question { user: "app".to_owned(), owners, ..question("sh") })
    };
    let found = asked(&[None, Some("tls"), Some("0:7")]).unwrap();
    let ids: Vec<(u32, u32)> = found.owners.iter().map(|owner| (owner.uid, owner.gid)).collect();
    assert_eq!(ids, [(1000, 1001), (70, 71), (0, 7)]);
    assert!(matches!(asked(&[Some("nobody")]), Err(StartError::NoSuchUser { user }) if user == "nobody"));
}

#[test]
fn passwd_files_that_are_no_files_are_refused_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("etc")).unwrap();
    let fifo = dir.path().join("etc/passwd");
    rustix::fs::mkfifoat(rustix::fs::CWD, fifo, rustix::fs::Mode::from_raw_mode(0o644)).unwrap();
    let files = Files::below(dir.path()).unwrap();
    assert!(matches!(
        answer(&files, &question("sh")),
        Err(StartError::Rootfs { doing: "read /etc/passwd", .. })
    ));
}
