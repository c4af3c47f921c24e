//! What the headers of gateways say of an answer that its body does not: its tier, who gave it, what
//! it cost. Knows no body.

use super::observation::{NanoUsd, ResponseFacts};
use super::shapes::money::nano_usd;

/// Longest texts that are kept.
const TIER: usize = 64;
const NAME: usize = 128;

/// What was seen so far.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Gateway {
    tier: Option<String>,
    deployment: Option<String>,
    spilled_over: bool,
    cost: Option<NanoUsd>,
}

impl Gateway {
    /// Looks at one header, its name in lower case.
    pub fn see(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b"azureai-processed-tier" => self.tier = bounded(value, TIER),
            b"x-ms-deployment-name" => self.deployment = bounded(value, NAME),
            b"x-ms-is-spilled-over" => {
                self.spilled_over = value.eq_ignore_ascii_case(b"true");
            }
            // In USD, as <https://docs.litellm.ai/docs/proxy/response_headers> says; nothing where it
            // is not known. Zero is an answer from its cache, or a model that it has no price for (litellm
            // 1.109.1, `proxy/common_request_processing.py`): the one cannot be told from the other.
            b"x-litellm-response-cost" => {
                let cost = std::str::from_utf8(value).ok().and_then(nano_usd);
                self.cost = cost.filter(|cost| cost.0 > 0);
            }
            _ => (),
        }
    }

    /// Tells what it saw; the body may know better.
    pub fn tell(self, facts: &mut ResponseFacts) {
        facts.service_tier = self.tier;
        facts.reported_cost = self.cost;
        // Azure: another deployment than the one that was asked.
        facts.served_by = self.deployment.filter(|_| self.spilled_over);
    }
}

fn bounded(text: &[u8], longest: usize) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    (!text.is_empty()).then(|| text[..text.floor_char_boundary(longest)].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(headers: &[(&str, &str)]) -> (Option<String>, Option<String>, Option<u64>) {
        let (mut gateway, mut facts) = (Gateway::default(), ResponseFacts::default());
        headers.iter().for_each(|(name, value)| gateway.see(name.as_bytes(), value.as_bytes()));
        gateway.tell(&mut facts);
        (facts.service_tier, facts.served_by, facts.reported_cost.map(|cost| cost.0))
    }

    #[test]
    fn a_deployment_that_took_over_is_who_answered() {
        let spilled =
            |over| told(&[("x-ms-deployment-name", "spare"), ("x-ms-is-spilled-over", over)]).1;
        assert_eq!(spilled("true").as_deref(), Some("spare"));
        assert_eq!(spilled("false"), None);
    }

    #[test]
    fn tiers_and_costs_are_read() {
        let (tier, _, cost) = told(&[
            ("azureai-processed-tier", "priority"),
            ("x-litellm-response-cost", "4.25e-05"),
        ]);
        assert_eq!((tier.as_deref(), cost), (Some("priority"), Some(42_500)));
        for unsure in ["0.0", "None", "", "-1"] {
            assert_eq!(told(&[("x-litellm-response-cost", unsure)]).2, None, "{unsure}");
        }
        assert_eq!(told(&[("azureai-processed-tier", "")]).0, None);
    }
}
