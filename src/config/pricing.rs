//! Price files: where `[pricing] files` finds them, and what is wrong in them, told where it stands.
//! Knows no price.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::fault::{self, Fault};
use super::file::Pricing;
use crate::observe::price::Override;

/// Entries of all files and of `proxy.toml` together: each call may look at every one.
const MOST: usize = 10_000;

/// A price file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceFile {
    /// Where its prices are from, for entries that do not say it themselves.
    #[serde(default)]
    source: Option<String>,
    /// `[[model]]`.
    #[serde(default)]
    model: Vec<Spanned<Override>>,
}

/// `written` as `[pricing] files` of the file at `at` means it: a relative path begins in that
/// file's folder.
pub(super) fn beside(at: &Path, written: &Path) -> PathBuf {
    at.parent().map_or_else(|| written.to_path_buf(), |folder| folder.join(written))
}

/// The operator's prices in the order in which they are tried: those of `proxy.toml`, which stands
/// at `at`, then those of each file.
pub(super) fn resolve(pricing: &Pricing, at: &Path) -> Result<Vec<Override>, Vec<Fault>> {
    let files = pricing.files.iter().enumerate();
    let files = fault::all(files.map(|(number, written)| {
        let refused = |message| vec![Fault::at(format!("pricing.files.{number}"), message)];
        read(&beside(at, written)).map_err(refused)
    }))?;
    let inline = |own: &Override| Override { written: at.display().to_string(), ..own.clone() };
    let all: Vec<_> = pricing.model.iter().map(inline).chain(files.concat()).collect();
    if all.len() > MOST {
        let message = format!("{} prices of your own are too many: at most {MOST}", all.len());
        return Err(vec![Fault::at("pricing.files", message)]);
    }
    Ok(all)
}

/// The entries of one file, each knowing where it stands.
fn read(path: &Path) -> Result<Vec<Override>, String> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
    let file: PriceFile =
        toml::from_str(&text).map_err(|error| fault::refusal(&name, &text, &error))?;
    let entries = file.model.into_iter().map(|entry| {
        let before = text.get(..entry.span().start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let entry = entry.into_inner();
        Override {
            written: format!("{name}, line {line}"),
            source: entry.source.clone().or_else(|| file.source.clone()),
            ..entry
        }
    });
    Ok(entries.collect())
}
