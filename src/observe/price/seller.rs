//! Who sold a call: from the upstream's provider and address to a provider of the table. Knows no
//! models' prices.

use std::net::{IpAddr, Ipv4Addr};

use super::Unpriced;
use super::table::{Provider, Table};

/// What is known of who answered.
#[derive(Clone, Copy, Debug)]
pub enum Who<'a> {
    /// An upstream: its name in `proxy.toml`, its provider in the conventions' spelling, its host.
    Upstream {
        /// As in `tape::Upstream::name`.
        name: &'a str,
        /// As in `tape::Upstream::provider`.
        provider: &'a str,
        /// As in `tape::Upstream::address`.
        address: &'a str,
    },
    /// A provider by any of its names, or by its host: a person asks.
    Named(&'a str),
    /// Nothing: the model's name alone must tell. A person asks.
    Unsaid,
}

impl Who<'_> {
    fn is_private(self) -> bool {
        matches!(self, Self::Upstream { address, .. } if is_private(address))
    }
}

/// A provider of the table, and by what it was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seller<'t> {
    pub(super) provider: &'t Provider,
    pub(super) by: By,
}

/// By what a provider was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The host is one of its own.
    Address,
    /// It is called so.
    Name,
    /// The name has a part that is its.
    LikeName,
    /// The model's name is one of its own.
    Model,
    /// No other sells a model of this name.
    Only,
    /// The model's name begins with it (`openai/…`, behind `LiteLLM`).
    Prefix,
}

/// Providers whose compute is the operator's own.
const LOCAL: [&str; 3] = ["ollama", "vllm", "llamacpp"];

/// The table's id for a name that is spelled in another way by the conventions or by `proxy.toml`.
pub(super) fn table_id(provider: &str) -> &str {
    match provider {
        "azure.ai.openai" | "azure.ai.inference" => "azure",
        "gcp.gemini" | "gcp.vertex_ai" | "gcp.gen_ai" | "gemini" | "vertex" => "google",
        "aws.bedrock" | "bedrock" => "aws",
        "mistral_ai" => "mistral",
        "x_ai" | "xai" => "x-ai",
        "moonshot_ai" | "moonshot" => "moonshotai",
        "together_ai" => "together",
        "fireworks_ai" => "fireworks",
        other => other,
    }
}

/// Finds who sells, and the name under which the model is to be looked up there.
pub(super) fn find<'t, 'm>(
    table: &'t Table,
    who: Who<'_>,
    model: &'m str,
) -> Result<(Seller<'t>, &'m str), Unpriced> {
    let (provider, address) = match who {
        Who::Upstream { provider, address, .. } => (provider, address),
        Who::Named(text) => (text, text),
        Who::Unsaid => {
            let found = by_model(table, model).or_else(|| by_only(table, model));
            return found.map(|seller| (seller, model)).ok_or(Unpriced::ProviderUnknown);
        }
    };
    let provider = provider.trim().to_lowercase();
    if LOCAL.contains(&provider.as_str()) {
        return Err(Unpriced::Local);
    }
    if provider == "litellm"
        && let Some(found) = by_prefix(table, model)
    {
        return Ok(found);
    }
    by_address(table, address)
        .or_else(|| by_name(table, &provider))
        .or_else(|| by_like_name(table, &provider).filter(|_| !who.is_private()))
        .map(|seller| (seller, model))
        .ok_or_else(|| unknown(who, Unpriced::ProviderUnknown))
}

/// `reason`, unless the address says that no provider sold anything.
pub(super) fn unknown(who: Who<'_>, reason: Unpriced) -> Unpriced {
    if who.is_private() { Unpriced::Local } else { reason }
}

fn by_address<'t>(table: &'t Table, address: &str) -> Option<Seller<'t>> {
    let url = format!("https://{}", address.to_lowercase());
    let provider = table.providers.iter().find(|provider| provider.url.holds(&url))?;
    Some(Seller { provider, by: By::Address })
}

fn by_name<'t>(table: &'t Table, name: &str) -> Option<Seller<'t>> {
    table.provider(table_id(name)).map(|provider| Seller { provider, by: By::Name })
}

fn by_like_name<'t>(table: &'t Table, name: &str) -> Option<Seller<'t>> {
    let mut providers = table.providers.iter();
    let is = |provider: &&Provider| provider.names.as_ref().is_some_and(|names| names.holds(name));
    providers.find(is).map(|provider| Seller { provider, by: By::LikeName })
}

fn by_prefix<'t, 'm>(table: &'t Table, model: &'m str) -> Option<(Seller<'t>, &'m str)> {
    let (prefix, rest) = model.split_once('/')?;
    let found = by_name(table, prefix).or_else(|| by_like_name(table, prefix))?;
    Some((Seller { by: By::Prefix, ..found }, rest))
}

fn by_model<'t>(table: &'t Table, model: &str) -> Option<Seller<'t>> {
    let mut providers = table.providers.iter();
    let makes =
        |provider: &&Provider| provider.makes.as_ref().is_some_and(|makes| makes.holds(model));
    providers.find(makes).map(|provider| Seller { provider, by: By::Model })
}

fn by_only<'t>(table: &'t Table, model: &str) -> Option<Seller<'t>> {
    match sellers(table, model).as_slice() {
        [provider] => Some(Seller { provider, by: By::Only }),
        _ => None,
    }
}

/// Who lists a model of this name, without those that sell what another of them makes.
pub(super) fn sellers<'t>(table: &'t Table, model: &str) -> Vec<&'t Provider> {
    let lists = |provider: &&Provider| {
        table.find(provider, model).is_some_and(|found| found.owner.id == provider.id)
    };
    let all: Vec<_> = table.providers.iter().filter(lists).collect();
    let resells = |provider: &&Provider| all.iter().any(|of| provider.fallback.contains(&of.id));
    all.iter().copied().filter(|provider| !resells(provider)).collect()
}

/// Whether only the operator's own network knows this host: a Unix socket, a private address, a name without a
/// dot, or one under a top-level domain that is never public (RFC 6761, RFC 6762, RFC 9476).
pub fn is_private(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    if let Ok(address) = host.parse::<IpAddr>() {
        return is_private_address(address.to_canonical());
    }
    if host.starts_with('/') {
        return true;
    }
    let last = host.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    let own = ["localhost", "local", "internal", "lan", "alt"];
    !host.is_empty() && (!host.contains('.') || own.contains(&last.as_str()))
}

fn is_private_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || v4.is_unspecified()
                || is_shared(v4)
        }
        IpAddr::V6(v6) => {
            v6.is_loopback()
                || v6.is_unique_local()
                || v6.is_unicast_link_local()
                || v6.is_unspecified()
        }
    }
}

/// 100.64.0.0/10 (RFC 6598), which private meshes use.
fn is_shared(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    first == 100 && second & 0b1100_0000 == 64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sold(provider: &str, address: &str) -> Result<(&'static str, By), Unpriced> {
        let who = Who::Upstream { name: "up", provider, address };
        find(Table::embedded(), who, "a-model").map(|(seller, _)| (seller.provider.id, seller.by))
    }

    #[test]
    fn the_address_tells_more_than_the_name() {
        assert_eq!(sold("openai", "api.groq.com"), Ok(("groq", By::Address)));
        assert_eq!(sold("openai", "x.openai.azure.com"), Ok(("azure", By::Address)));
        assert_eq!(sold("openai", "API.OpenAI.com"), Ok(("openai", By::Address)));
        assert_eq!(sold("openai", "gateway.example.com"), Ok(("openai", By::Name)));
    }

    #[test]
    fn the_conventions_spelling_is_understood() {
        for (provider, id) in [
            ("azure.ai.openai", "azure"),
            ("gcp.gemini", "google"),
            ("gcp.vertex_ai", "google"),
            ("aws.bedrock", "aws"),
            ("mistral_ai", "mistral"),
            ("x_ai", "x-ai"),
            ("moonshot_ai", "moonshotai"),
            ("deepseek", "deepseek"),
            ("openrouter", "openrouter"),
            ("together_ai", "together"),
            ("OpenAI", "openai"),
        ] {
            assert_eq!(sold(provider, "gateway.example.com"), Ok((id, By::Name)), "{provider}");
        }
    }

    #[test]
    fn a_name_that_only_resembles_one_is_not_it_on_the_own_network() {
        assert_eq!(sold("my-openai", "gateway.example.com"), Ok(("openai", By::LikeName)));
        assert_eq!(sold("my-openai", "127.0.0.1"), Err(Unpriced::Local));
        assert_eq!(sold("acme", "gateway.example.com"), Err(Unpriced::ProviderUnknown));
        assert_eq!(sold("acme", "10.0.0.7"), Err(Unpriced::Local));
    }

    #[test]
    fn own_compute_has_no_seller_wherever_it_stands() {
        for provider in ["ollama", "vllm", "llamacpp"] {
            assert_eq!(sold(provider, "gpu.example.com"), Err(Unpriced::Local));
        }
    }

    #[test]
    fn behind_litellm_the_models_prefix_tells() {
        let who = Who::Upstream { name: "up", provider: "litellm", address: "127.0.0.1" };
        let (seller, rest) = find(Table::embedded(), who, "azure/gpt-4o").expect("a seller");
        assert_eq!((seller.provider.id, seller.by, rest), ("azure", By::Prefix, "gpt-4o"));
        assert_eq!(find(Table::embedded(), who, "gpt-4o").map(|_| ()), Err(Unpriced::Local));
    }

    #[test]
    fn hosts_of_the_own_network_are_private() {
        for host in [
            "127.0.0.1",
            "::1",
            "[::1]",
            "10.1.2.3",
            "172.31.0.1",
            "192.168.1.1",
            "169.254.1.1",
            "100.100.1.1",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
            "0.0.0.0",
            "localhost",
            "ollama",
            "host.docker.internal",
            "vllm.models.svc.cluster.local",
            "gpu.LAN",
            "localhost.",
            "/run/llama.sock",
        ] {
            assert!(is_private(host), "{host}");
        }
        for host in ["api.openai.com", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1", ""] {
            assert!(!is_private(host), "{host}");
        }
    }
}
