//! What the table lacks: prices that were taken from elsewhere, each with its source and day. Knows no
//! calls; it is laid over the table once, when that is read.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::name::Clause;
use super::table::{Model, Row, Table};

static TEXT: &str = include_str!("overlay.json");

/// The whole overlay.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Overlay {
    /// What it is, for whoever reads the file.
    #[serde(rename = "about")]
    _about: &'static str,
    entries: Vec<Entry>,
}

/// What is added for one model, or for all that a provider sells.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    provider: &'static str,
    /// The id of the table's entry, or of a new one; absent: all of the provider's.
    model: Option<&'static str>,
    /// The names of a new entry.
    #[serde(rename = "match")]
    names: Option<Clause>,
    source: &'static str,
    seen: &'static str,
    /// Why it goes before what the table says; absent: the table says nothing of it.
    #[serde(rename = "instead")]
    _instead: Option<IgnoredAny>,
    #[serde(default)]
    prices: Vec<Row>,
    #[serde(default)]
    tiers: Vec<Row>,
}

/// Where a price is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    /// The page, or the project's file, that says it.
    pub(super) source: &'static str,
    /// The day on which it was read.
    pub(super) seen: &'static str,
}

/// The overlay in the program. As with the table, a test reads it; were it unreadable, it would add nothing.
pub(super) fn embedded() -> Overlay {
    serde_json::from_str(TEXT).unwrap_or_default()
}

/// Adds the overlay to a table.
pub(super) fn lay(overlay: Overlay, table: &mut Table) {
    for entry in overlay.entries {
        let Some(provider) = table.providers.iter_mut().find(|it| it.id == entry.provider) else {
            continue;
        };
        let origin = Origin { source: entry.source, seen: entry.seen };
        let from_there = |rows: Vec<Row>| rows.into_iter().map(move |row| row.with_origin(origin));
        let (prices, tiers) = (from_there(entry.prices), from_there(entry.tiers));
        match (entry.model, entry.names) {
            (None, _) => provider.added.extend(prices),
            (Some(id), Some(names)) => {
                let (prices, tiers) = (prices.collect(), tiers.collect());
                let model = Model { id, names, prices, tiers, added: Vec::new() };
                provider.models.insert(0, model);
            }
            (Some(id), None) => {
                if let Some(model) = provider.models.iter_mut().find(|model| model.id == id) {
                    model.added.extend(prices);
                    model.tiers.extend(tiers);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::moment::is_day;
    use super::*;

    fn table() -> Table {
        let table = serde_json::from_str(include_str!("table.json"));
        table.expect("the table")
    }

    #[test]
    fn every_entry_is_of_a_known_provider_and_says_where_it_is_from_and_when_that_was_read() {
        let overlay: Overlay = serde_json::from_str(TEXT).expect("the overlay");
        let table = table();
        assert!(overlay.entries.len() > 40);
        for Entry { provider, model, names, source, seen, prices, tiers, .. } in overlay.entries {
            assert!(source.starts_with("https://") && source.len() > 20, "{provider} {model:?}");
            assert!(is_day(seen), "{provider} {model:?}: {seen}");
            assert!(!prices.is_empty() || !tiers.is_empty(), "{provider} {model:?}");
            let provider = table.provider(provider).expect(provider);
            let known = model.is_some_and(|id| provider.models.iter().any(|it| it.id == id));
            assert_eq!(known, model.is_some() && names.is_none(), "{} {model:?}", provider.id);
        }
    }

    #[test]
    fn an_entry_that_contradicts_the_table_says_why() {
        let overlay: Value = serde_json::from_str(TEXT).expect("the overlay");
        let table: Value = serde_json::from_str(include_str!("table.json")).expect("the table");
        let of = |entry: &Value| {
            let providers = table["providers"].as_array()?.iter();
            let models = providers.filter(|it| it["id"] == entry["provider"]);
            let mut models = models.flat_map(|it| it["models"].as_array().expect("models"));
            models.find(|it| it["id"] == entry["model"])
        };
        let rates = |rows: &Value| -> Vec<(Value, String)> {
            let rows = rows.as_array().map(Vec::as_slice).unwrap_or_default();
            let row = |row: &Value| {
                let names = row["usd"].as_object().expect("rates").keys().cloned();
                names.map(|name| (row["tier"].clone(), name)).collect::<Vec<_>>()
            };
            rows.iter().flat_map(row).collect()
        };
        let mut told = 0;
        for entry in overlay["entries"].as_array().expect("entries") {
            told += usize::from(!entry["instead"].is_null());
            let Some(known) = of(entry).filter(|_| entry["instead"].is_null()) else { continue };
            let theirs = [rates(&known["prices"]), rates(&known["tiers"])].concat();
            let ours = [rates(&entry["prices"]), rates(&entry["tiers"])].concat();
            assert!(!ours.iter().any(|rate| theirs.contains(rate)), "{entry}");
        }
        assert!(told > 0);
    }

    #[test]
    fn what_is_added_has_its_origin() {
        let mut table = table();
        lay(embedded(), &mut table);
        let openai = table.provider("openai").expect("openai");
        let sora = openai.models.iter().find(|model| model.id == "sora-2").expect("sora-2");
        let (tariff, _) = sora.tariff(openai, &std::time::SystemTime::now().into(), None);
        let told: Vec<_> = tariff.origins.iter().map(|(of, it)| (of.as_str(), it.seen)).collect();
        assert_eq!(told, [("output_second", "2026-11-21")]);
        let reads = openai.models.iter().find(|model| model.id == "gpt-5.4").expect("gpt-5.4");
        let (tariff, _) = reads.tariff(openai, &std::time::SystemTime::now().into(), None);
        assert!(tariff.origins.iter().any(|(of, _)| of.as_str() == "code_session"));
    }
}
