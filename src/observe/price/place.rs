//! Whether where a call ran may change what it costs, by an amount that is not known. Knows no prices.

/// Places of Anthropic's `inference_geo` that cost what the table says.
const ANYWHERE: [&str; 3] = ["global", "not_available", ""];

/// Whether a provider of the table may charge more for the place in which this call ran: Anthropic for
/// what is kept in one country, OpenAI on its regional hosts, Vertex AI in a region, Azure for any
/// deployment that is not global, which no answer tells (litellm 1.109.1: each of OpenAI's chat models costs 10 % more
/// under `azure/us/`, 10 to 20 % more under `azure/eu/`, and embeddings 14 % more under `azure/us-gov/`).
pub(super) fn may_cost_more(seller: &str, address: &str, place: Option<&str>) -> bool {
    let address = address.to_lowercase();
    match seller {
        "anthropic" => {
            place.is_some_and(|place| !ANYWHERE.iter().any(|any| any.eq_ignore_ascii_case(place)))
        }
        "azure" => true,
        "google" => address.ends_with("-aiplatform.googleapis.com"),
        "openai" => address.ends_with(".api.openai.com"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_asked_for_may_cost_more() {
        for (seller, address, place, more) in [
            ("anthropic", "api.anthropic.com", None, false),
            ("anthropic", "api.anthropic.com", Some("global"), false),
            ("anthropic", "api.anthropic.com", Some("us"), true),
            ("openai", "api.openai.com", None, false),
            ("openai", "EU.api.openai.com", None, true),
            ("openai", "gateway.example.com", Some("us"), false),
            ("google", "aiplatform.googleapis.com", None, false),
            ("google", "europe-west1-aiplatform.googleapis.com", None, true),
            ("google", "generativelanguage.googleapis.com", None, false),
            ("azure", "acme.openai.azure.com", None, true),
            ("groq", "api.groq.com", None, false),
        ] {
            assert_eq!(may_cost_more(seller, address, place), more, "{seller} {address} {place:?}");
        }
    }
}
