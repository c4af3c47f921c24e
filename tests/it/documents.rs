//! What is written for people, checked where a test can. Knows no behavior.

use std::fs;
use std::path::{Path, PathBuf};

use clearspan::observe::observation::Note;

/// Every page of the repository.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<_> =
        ["deploy", "docker", "docs", "tests"].map(|folder| root.join(folder)).into();
    let mut pages = vec![root.join("README.md"), root.join("CHANGELOG.md")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "md") {
                pages.push(path);
            }
        }
    }
    pages
}

/// Places in this repository that a page links to.
fn links(page: &str) -> Vec<&str> {
    let places = page.split("](").skip(1).filter_map(|after| after.split(')').next());
    places.filter(|place| !place.contains("://")).collect()
}

/// What a link calls a page's headings.
fn anchors(page: &str) -> Vec<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let words = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        words.chars().filter(|it| it.is_alphanumeric() || "-_".contains(*it)).collect()
    };
    headings.map(anchor).collect()
}

/// Whether a link on `page` leads anywhere.
fn leads(page: &Path, link: &str) -> bool {
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let there = if path.is_empty() { page.to_owned() } else { page.parent().unwrap().join(path) };
    let is_there = |page: String| anchors(&page).iter().any(|it| it == anchor);
    there.exists() && (anchor.is_empty() || fs::read_to_string(there).is_ok_and(is_there))
}

#[test]
fn every_link_leads_somewhere() {
    let mut seen = 0;
    for page in pages() {
        for link in links(&fs::read_to_string(&page).unwrap()) {
            seen += 1;
            assert!(leads(&page, link), "{}: {link}", page.display());
        }
    }
    assert!(seen > 30, "{seen} links");
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    assert!(leads(&page, "docs/usage.md#estimates") && leads(&page, "#run-it"));
    for wrong in ["docs/none.md", "docs/usage.md#none", "#none"] {
        assert!(!leads(&page, wrong), "{wrong}");
    }
}

#[test]
fn every_page_is_linked_from_the_first_or_from_one_that_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = vec![root.join("README.md")];
    let mut at = 0;
    while let Some(page) = found.get(at).cloned() {
        at += 1;
        for link in links(&fs::read_to_string(&page).unwrap()) {
            let path = page.parent().unwrap().join(link.split('#').next().unwrap());
            let is_page = path.is_file() && path.extension().is_some_and(|it| it == "md");
            let path = path.canonicalize().unwrap();
            if is_page && !found.contains(&path) {
                found.push(path);
            }
        }
    }
    let lost = pages().into_iter().filter(|page| !found.contains(&page.canonicalize().unwrap()));
    assert_eq!(lost.collect::<Vec<_>>(), [""; 0].map(PathBuf::from));
}

#[test]
fn every_note_is_explained() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/telemetry.md");
    let page = fs::read_to_string(page).unwrap();
    let table: Vec<_> = page.lines().filter(|line| line.starts_with("| `")).collect();
    for note in Note::ALL {
        let name = format!("`{}`", note.as_str());
        assert!(table.iter().any(|row| row.contains(&name)), "{name}");
    }
}
