//! Golden files: what the CLI prints, reviewed by reading it. `UPDATE_GOLDEN=1` writes them anew.

use std::fs;
use std::path::PathBuf;

/// Compares `text` with `src/mill/golden/NAME.txt`.
pub(crate) fn check(name: &str, text: &str) {
    check_file(
        &PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/golden")).join(format!("{name}.txt")),
        text,
    );
}

/// Compares `text` with a file.
pub(crate) fn check_file(path: &std::path::Path, text: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        return;
    }
    let golden = fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("{}: {error}; UPDATE_GOLDEN=1 writes it:\n{text}", path.display()));
    if golden == text {
        return;
    }
    let differs = golden.lines().zip(text.lines()).position(|(old, new)| old != new);
    let line = differs.unwrap_or_else(|| golden.lines().count().min(text.lines().count())) + 1;
    panic!(
        "{} differs from line {line} on; UPDATE_GOLDEN=1 takes the new one\n--- golden\n{golden}\n+++ now\n{text}",
        path.display()
    );
}

#[test]
fn no_golden_file_is_forgotten() {
    fn sources(directory: &std::path::Path) -> String {
        let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        let text = |path: PathBuf| match path.is_dir() {
            true => sources(&path),
            false => fs::read_to_string(path).unwrap(),
        };
        entries.map(text).collect()
    }
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let code = sources(&root.join("cli"));
    let files: Vec<PathBuf> =
        fs::read_dir(root.join("golden")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() > 10, "{files:?}");
    for file in files {
        let name = file.file_stem().unwrap().to_str().unwrap();
        assert!(code.contains(&format!("golden::check(\"{name}\"")), "no test looks at {}", file.display());
    }
}
