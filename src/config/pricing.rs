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
        let line = fault::line(&text, &entry.span());
        let entry = entry.into_inner();
        Override {
            written: format!("{name}, line {line}"),
            source: entry.source.clone().or_else(|| file.source.clone()),
            ..entry
        }
    });
    Ok(entries.collect())
}

#[cfg(test)]
mod tests {
    use crate::config::{Environment, Flags, Loaded, load};

    /// Loads this `proxy.toml` beside these price files.
    fn loaded(text: &str, files: &[(&str, &str)]) -> Result<Loaded, String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("proxy.toml", text)].iter().chain(files) {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let flags = Flags { config: Some(folder.path().join("proxy.toml")), ..Flags::default() };
        let folder = format!("{}/", folder.path().display());
        load(&flags, &Environment::of([])).map_err(|error| error.to_string().replace(&folder, ""))
    }

    #[test]
    fn the_files_own_prices_go_first_then_each_file_in_its_order() {
        let text = "[pricing]\nfiles = ['b.toml', 'a.toml']\n[[pricing.model]]\nmodel = 'own'\ninput = 1\n";
        let b = "source = 'contract'\n\n[[model]]\nmodel = 'b1'\ninput = 1\n[[model]]\nmodel = 'b2'\ninput = 1\nsource = 'mail'\n";
        let a = "[[model]]\nmodel = 'a1'\ninput = 1\n";
        let prices = loaded(text, &[("a.toml", a), ("b.toml", b)]).unwrap().settings.prices;
        let told: Vec<_> = prices
            .iter()
            .map(|it| {
                let file = it.written.rsplit('/').next().unwrap();
                format!("{} in {file} {}", it.model, it.source.as_deref().unwrap_or("-"))
            })
            .collect();
        assert_eq!(
            told,
            [
                "own in proxy.toml -",
                "b1 in b.toml, line 3 contract",
                "b2 in b.toml, line 6 mail",
                "a1 in a.toml, line 1 -",
            ]
        );
    }

    #[test]
    fn what_is_wrong_in_a_price_file_is_shown_there_and_where_it_is_named() {
        let text = "[pricing]\nfiles = ['own.toml']\n";
        assert_eq!(
            loaded(text, &[("own.toml", "[[model]]\nmodel = 'm'\noutptu = 1\n")]).unwrap_err(),
            "\
proxy.toml: error at line 2, column 10
  |
2 | files = ['own.toml']
  |          ^^^^^^^^^^
own.toml: error at line 3, column 1
  |
3 | outptu = 1
  | ^^^^^^
unknown key `outptu`: this version knows no such key here; did you mean `output`?
it knows `provider`, `model`, `input`, `cached_input`, `cache_write`, `cache_write_1h`, `input_audio`, `cached_input_audio`, `output`, `reasoning`, `output_audio`, `cache_write_12h`, `input_image`, `cached_input_image`, `input_video`, `output_image`, `request`, `web_search`, `file_search`, `rerank_search`, `page`, `character`, `image`, `code_session`, `audio_hour`, `output_second`, `tiers`, `per_hour`, `name`, `dated`, `source`"
        );
        for (file, why) in [
            ("[[model]]\nmodel = 'm'\ninput = 'cheap'\n", "own.toml: error at line 3, column 9"),
            ("[[model]]\nmodel = 'm'\n", "own.toml: error at line 1, column 1"),
            ("[[modle]]\n", "did you mean `model`?"),
            ("[[model]]\nmodel = 'm'\ninput = 1\ntiers.flex.inptu = 1\n", "did you mean `input`?"),
        ] {
            let told = loaded(text, &[("own.toml", file)]).unwrap_err();
            assert!(told.contains(why), "{told}");
        }
    }

    #[test]
    fn a_price_file_that_is_not_there_is_a_fault_at_its_name() {
        let told = loaded("[pricing]\nfiles = ['a.toml', 'none.toml']\n", &[("a.toml", "")]);
        let told = told.unwrap_err();
        assert!(told.starts_with("proxy.toml: error at line 2, column 20\n"), "{told}");
        assert!(told.ends_with("\nnone.toml: No such file or directory (os error 2)"), "{told}");
    }

    #[test]
    fn too_many_prices_are_refused() {
        let many = "[[model]]\nmodel = 'm'\ninput = 1\n".repeat(super::MOST + 1);
        let told = loaded("pricing.files = ['a.toml']\n", &[("a.toml", &many)]).unwrap_err();
        assert!(told.ends_with("10001 prices of your own are too many: at most 10000"), "{told}");
    }
}
