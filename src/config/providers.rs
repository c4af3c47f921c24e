//! The table of providers we know: the conventions' spelling, whose format they speak, the marker
//! by which their clients are known, the hosts that are theirs, and how their errors look. Knows no
//! price.

use http::HeaderName;

use super::file::{self, Dialect};
use crate::forward::settings::{ErrorShape, Marker};

/// One provider.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Provider {
    /// As `proxy.toml` writes it.
    pub(super) name: &'static str,
    /// As `gen_ai.provider.name` writes it.
    pub(super) spelling: &'static str,
    /// Whose wire format it speaks.
    pub(super) dialect: Dialect,
    /// Whether its streams are asked for usage unless `stream_usage` says otherwise.
    pub(super) asks: bool,
    /// What only its clients say.
    marker: Option<Sign>,
    /// How its errors look.
    shape: &'static str,
}

/// A `Marker`, as a table can hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sign {
    header: &'static str,
    query: Option<&'static str>,
    ground: &'static [&'static str],
}

/// Every SDK of Anthropic's sends the header, and asks under `/v1/` (its `_resources`).
const ANTHROPICS: Sign = Sign { header: "anthropic-version", query: None, ground: &["/v1/"] };
/// google-genai sends the header, and from 3.0 on asks under `/v1/` (its
/// `GOOGLE_AI_API_DEFAULT_VERSION`); Google's own examples for curl, and LiteLLM's sockets, write `?key=`.
const GEMINIS: Sign = Sign {
    header: "x-goog-api-key",
    query: Some("key"),
    ground: &["/v1/", "/v1beta/", "/v1alpha/"],
};

const OPENAI_ERROR: &str =
    r#"{"error":{"message":"{message}","type":"proxy_error","param":null,"code":"{code}"}}"#;
const ANTHROPIC_ERROR: &str =
    r#"{"type":"error","error":{"type":"api_error","message":"{message}"}}"#;
const GOOGLE_ERROR: &str = r#"{"error":{"code":{status},"message":"{message}","status":"{code}"}}"#;
const OLLAMA_ERROR: &str = r#"{"error":"{message}"}"#;
const MISTRAL_ERROR: &str =
    r#"{"object":"error","message":"{message}","type":"proxy_error","param":null,"code":"{code}"}"#;
const XAI_ERROR: &str = r#"{"code":"{code}","error":"{message}"}"#;
const MESSAGE_ERROR: &str = r#"{"message":"{message}"}"#;

/// A provider that speaks OpenAI's format, errors included.
const fn openai_like(name: &'static str, spelling: &'static str) -> Provider {
    let dialect = Dialect::Openai;
    Provider { name, spelling, dialect, asks: false, marker: None, shape: OPENAI_ERROR }
}

/// A provider whose answers we cannot read yet: times, status and bytes only.
const fn unread(name: &'static str, spelling: &'static str, shape: &'static str) -> Provider {
    Provider { name, spelling, dialect: Dialect::Unknown, asks: false, marker: None, shape }
}

/// One of Google's two ways to its models.
const fn google(name: &'static str, spelling: &'static str) -> Provider {
    Provider { dialect: Dialect::Gemini, ..unread(name, spelling, GOOGLE_ERROR) }
}

/// Names and spellings as in the registry of `gen_ai.provider.name`; where that has none, the name.
const PROVIDERS: [Provider; 30] = [
    Provider { asks: true, ..openai_like("openai", "openai") },
    Provider { asks: true, ..openai_like("azure", "azure.ai.openai") },
    openai_like("azure_inference", "azure.ai.inference"),
    Provider {
        marker: Some(ANTHROPICS),
        dialect: Dialect::Anthropic,
        ..unread("anthropic", "anthropic", ANTHROPIC_ERROR)
    },
    Provider { marker: Some(GEMINIS), ..google("gemini", "gcp.gemini") },
    google("vertex", "gcp.vertex_ai"),
    unread("bedrock", "aws.bedrock", MESSAGE_ERROR),
    Provider { dialect: Dialect::Cohere, ..unread("cohere", "cohere", MESSAGE_ERROR) },
    unread("watsonx", "ibm.watsonx.ai", OPENAI_ERROR),
    Provider { dialect: Dialect::Ollama, ..unread("ollama", "ollama", OLLAMA_ERROR) },
    Provider { shape: MISTRAL_ERROR, ..openai_like("mistral", "mistral_ai") },
    Provider { shape: XAI_ERROR, ..openai_like("xai", "x_ai") },
    openai_like("groq", "groq"),
    openai_like("deepseek", "deepseek"),
    openai_like("moonshot", "moonshot_ai"),
    openai_like("openrouter", "openrouter"),
    openai_like("perplexity", "perplexity"),
    openai_like("together", "together"),
    openai_like("fireworks", "fireworks"),
    openai_like("cerebras", "cerebras"),
    openai_like("huggingface", "huggingface"),
    openai_like("voyageai", "voyageai"),
    openai_like("jina", "jina"),
    openai_like("zai", "zai"),
    openai_like("litellm", "litellm"),
    openai_like("gpustack", "gpustack"),
    openai_like("vllm", "vllm"),
    openai_like("llamacpp", "llamacpp"),
    openai_like("sglang", "sglang"),
    openai_like("lmstudio", "lmstudio"),
];

/// The hosts of providers: a name, or with a dot or dash in front any name that ends so.
const HOSTS: [(&str, &str); 33] = [
    ("api.openai.com", "openai"),
    (".api.openai.com", "openai"),
    (".openai.azure.com", "azure"),
    (".cognitiveservices.azure.com", "azure"),
    (".services.ai.azure.com", "azure"),
    ("api.anthropic.com", "anthropic"),
    ("generativelanguage.googleapis.com", "gemini"),
    ("aiplatform.googleapis.com", "vertex"),
    ("-aiplatform.googleapis.com", "vertex"),
    ("api.cohere.com", "cohere"),
    ("api.cohere.ai", "cohere"),
    ("ollama.com", "ollama"),
    ("api.mistral.ai", "mistral"),
    ("codestral.mistral.ai", "mistral"),
    ("api.x.ai", "xai"),
    (".api.x.ai", "xai"),
    ("api.groq.com", "groq"),
    ("api.deepseek.com", "deepseek"),
    ("api.moonshot.ai", "moonshot"),
    ("api.moonshot.cn", "moonshot"),
    ("openrouter.ai", "openrouter"),
    (".openrouter.ai", "openrouter"),
    ("api.perplexity.ai", "perplexity"),
    ("api.together.xyz", "together"),
    ("api.together.ai", "together"),
    ("api.fireworks.ai", "fireworks"),
    ("api.cerebras.ai", "cerebras"),
    ("router.huggingface.co", "huggingface"),
    ("api-inference.huggingface.co", "huggingface"),
    ("api.voyageai.com", "voyageai"),
    ("api.jina.ai", "jina"),
    ("api.z.ai", "zai"),
    (".ml.cloud.ibm.com", "watsonx"),
];

impl Provider {
    /// What its clients are known by.
    pub(super) fn marker(&self) -> Option<Marker> {
        let Sign { header, query, ground } = self.marker?;
        Some(Marker { header: HeaderName::from_static(header), query, ground })
    }

    /// How its errors look.
    pub(super) fn shape(&self) -> ErrorShape {
        ErrorShape(self.shape.to_owned())
    }
}

/// The provider of this name, in our spelling or in the conventions'.
pub(super) fn find(name: &str) -> Option<&'static Provider> {
    PROVIDERS.iter().find(|provider| provider.name == name || provider.spelling == name)
}

/// The provider of an upstream: as it is configured, else by its own name, else by its host.
pub(super) fn of(written: &file::Upstream, host: &str) -> Option<&'static Provider> {
    match &written.provider {
        Some(named) => find(named),
        None => find(&written.name).or_else(|| by_host(host)),
    }
}

/// The provider whose host this is.
fn by_host(host: &str) -> Option<&'static Provider> {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let is = |name: &str| match name.starts_with(['.', '-']) {
        true => host.ends_with(name),
        false => host == name,
    };
    // Its regions stand in the middle.
    let bedrock = host.starts_with("bedrock-runtime.") && host.ends_with(".amazonaws.com");
    let listed = HOSTS.iter().find(|(name, _)| is(name)).map(|(_, name)| *name);
    find(listed.or(bedrock.then_some("bedrock"))?)
}

/// How errors look where no provider was addressed, or one that we do not know: as OpenAI's do,
/// which most clients can read.
pub(super) fn common_shape() -> ErrorShape {
    ErrorShape(OPENAI_ERROR.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_stands_twice() {
        for (index, provider) in PROVIDERS.iter().enumerate() {
            let same = |other: &Provider| {
                [other.name, other.spelling]
                    .iter()
                    .any(|it| [provider.name, provider.spelling].contains(it))
            };
            assert!(!PROVIDERS[index + 1..].iter().any(same), "{}", provider.name);
        }
    }

    #[test]
    fn a_provider_is_known_by_its_host() {
        let name = |host| by_host(host).map(|provider| provider.name);
        for (host, provider) in [
            ("api.groq.com", Some("groq")),
            ("API.Groq.com.", Some("groq")),
            ("my-resource.openai.azure.com", Some("azure")),
            ("eu.api.openai.com", Some("openai")),
            ("europe-west4-aiplatform.googleapis.com", Some("vertex")),
            ("bedrock-runtime.eu-west-1.amazonaws.com", Some("bedrock")),
            ("openai.azure.com", None),
            ("notapi.groq.com", None),
            ("api.groq.com.example.org", None),
            ("localhost", None),
            ("/run/llm.sock", None),
        ] {
            assert_eq!(name(host), provider, "{host}");
        }
        assert!(HOSTS.iter().all(|(_, name)| find(name).is_some()));
    }

    #[test]
    fn what_is_configured_comes_before_the_host() {
        let of = |name: &str, provider: Option<&str>| {
            let mut written: file::Upstream =
                toml::from_str("name = \"x\"\nurl = \"https://api.groq.com\"").unwrap();
            written.name = name.to_owned();
            written.provider = provider.map(str::to_owned);
            super::of(&written, "api.groq.com").map(|provider| provider.name)
        };
        assert_eq!(of("fast", None), Some("groq"));
        assert_eq!(of("mistral", None), Some("mistral"));
        assert_eq!(of("fast", Some("vllm")), Some("vllm"));
        assert_eq!(of("mistral", Some("acme")), None);
    }

    #[test]
    fn every_error_is_json_that_tells_the_message() {
        for provider in &PROVIDERS {
            let text = provider.shape().0.replace("{code}", "busy").replace("{message}", "told");
            let text = text.replace("{status}", "503");
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert!(json.is_object(), "{}", provider.name);
            assert!(text.contains("told"), "{}", provider.name);
        }
    }

    #[test]
    fn a_provider_is_found_by_either_spelling() {
        assert_eq!(find("azure"), find("azure.ai.openai"));
        assert_eq!(find("xai").unwrap().spelling, "x_ai");
        assert_eq!(find("gemini").unwrap().marker().unwrap().header, "x-goog-api-key");
        assert_eq!(find("anthropic").unwrap().dialect, Dialect::Anthropic);
        assert_eq!(find("vertex").unwrap().dialect, Dialect::Gemini);
        assert_eq!(find("ollama").unwrap().dialect, Dialect::Ollama);
        assert_eq!(find("acme"), None);
    }
}
