//! Every property on its corpus, and on inputs that are made of it at random, the same each time. A
//! smoke test: `tests/fuzz` searches on. Knows the folders of the corpus and no property.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread;

use fastrand::Rng;

use super::{Property, TARGETS};

/// Inputs that are made for each property.
const MADE: u64 = 400;
/// The longest of them.
const LONGEST: usize = 8 << 10;
/// The longest file of a corpus: a reader should be able to see what it is about.
const SMALL: u64 = 4 << 10;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
}

/// The inputs of one corpus, each with its name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(folder().join("corpus").join(target)).into_iter().flatten();
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    let read = |path: &PathBuf| (path.display().to_string(), fs::read(path).unwrap());
    paths.iter().map(read).collect()
}

/// `input` after a few changes: bytes and ranges changed, taken out, said twice, and parts of `other`.
fn mutated(random: &mut Rng, input: &[u8], other: &[u8]) -> Vec<u8> {
    let mut made = input.to_vec();
    for _ in 0..random.usize(1..6) {
        let from = random.usize(0..=made.len());
        let longest = 1 << random.u32(0..8);
        let to = (from + random.usize(0..=longest)).min(made.len());
        let begin = random.usize(0..=other.len());
        let end = (begin + random.usize(0..=longest)).min(other.len());
        let part = match random.u8(0..7) {
            0 => Vec::new(),
            1 => made[from..to].repeat(2),
            2 => [&made[from..to], &other[begin..end]].concat(),
            3 => made[from..to].iter().map(|byte| byte ^ 1 << random.u8(0..8)).collect(),
            4 => vec![random.u8(..)],
            5 => random.choice(SPICES).unwrap().to_vec(),
            _ => other[begin..end].to_vec(),
        };
        made.splice(from..to, part);
    }
    made.truncate(LONGEST);
    made
}

/// What borders and numbers are made of.
const SPICES: &[&[u8]] = &[
    b"\n",
    b"\r\n",
    b"\0",
    b"\x1e",
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b".",
    b"/",
    b"-1",
    b"0",
    b"1e999",
    b"18446744073709551616",
    b"9007199254740993",
    b"null",
    b"\xff",
    b"\xe2\x82\xac",
    b"\\ud800",
    b"%2e%2e",
    b"chunked",
    b"data: ",
    b"[DONE]",
];

/// How a property fails for an input, which is kept, if it does.
fn failure(name: &str, property: Property, input: &[u8], what: &str) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(|| property(input))).err()?;
    let said = panic.downcast_ref::<String>().cloned();
    let said = said.or(panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default();
    let file = std::env::temp_dir().join(format!("clearspan-fuzz-{name}"));
    fs::write(&file, input).unwrap();
    Some(format!("{name}, {what}, kept as {}: {said}", file.display()))
}

/// The first input for which a property fails.
fn first_failure(name: &str, property: Property) -> Option<String> {
    let corpus = corpus(name);
    let known = corpus.iter().find_map(|(file, input)| failure(name, property, input, file));
    let mut random = Rng::with_seed(1);
    known.or_else(|| failure(name, property, b"", "nothing")).or_else(|| {
        (0..MADE).find_map(|number| {
            let (_, input) = random.choice(&corpus)?;
            let (_, other) = random.choice(&corpus)?;
            let made = mutated(&mut random, input, other);
            failure(name, property, &made, &format!("made as number {number}"))
        })
    })
}

#[test]
fn every_property_holds_for_its_corpus_and_what_is_made_of_it() {
    let failures: Vec<_> = thread::scope(|scope| {
        let run = |&(name, property)| scope.spawn(move || first_failure(name, property));
        let running: Vec<_> = TARGETS.iter().map(run).collect();
        running.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_target_has_its_line_and_a_corpus_of_small_files() {
    let manifest = fs::read_to_string(folder().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let lines = manifest["bin"].as_array().unwrap();
    let lines: Vec<_> = lines.iter().map(|line| line["name"].as_str().unwrap()).collect();
    let names: Vec<_> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(lines, names);
    let mut folders: Vec<_> = fs::read_dir(folder().join("corpus"))
        .unwrap()
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    folders.sort_unstable();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(folders, sorted);
    for name in names {
        let files = fs::read_dir(folder().join("corpus").join(name)).unwrap();
        let lengths: Vec<_> = files.map(|it| it.unwrap().metadata().unwrap().len()).collect();
        assert!(lengths.len() > 1, "{name}: hardly a corpus");
        assert!(lengths.iter().all(|&length| length <= SMALL), "{name}: {lengths:?}");
    }
}

#[test]
#[should_panic = "no property is called nobody"]
fn a_property_that_is_not_there_is_not_passed_over() {
    super::run("nobody", b"");
}
