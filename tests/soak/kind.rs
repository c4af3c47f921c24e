//! The kinds of exchanges: what is sent, what the upstream does, and what the client must see. Knows no
//! socket.

/// One kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A small answer in one piece.
    Unary,
    /// A prompt of 200 KB.
    LargePrompt,
    /// An answer of 1 MB.
    LargeAnswer,
    /// A paced stream that asks for usage.
    Stream,
    /// A paced stream that does not ask.
    SilentStream,
    /// An answer that ends with its connection.
    CloseDelimited,
    /// An error of the provider's.
    RateLimited,
    /// A silence of half a second before the answer.
    Slow,
    /// The upstream resets within its stream.
    Reset,
    /// The upstream closes before its answer's head.
    Hangup,
    /// The upstream's chunked coding stops without its end.
    Torn,
    /// The client leaves within the stream.
    Leaves,
    /// The client reads slowly.
    SlowReader,
    /// A path that goes nowhere.
    NoRoute,
    /// An upstream where nobody listens.
    Refused,
    /// Bytes both ways after an upgrade.
    Upgrade,
}

/// What the client must see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// This status and this body, whole.
    Whole(u16, usize),
    /// A head, and a body that breaks off.
    Broken,
    /// This status, whatever the body.
    Status(u16),
    /// What it has read before it left.
    Left,
    /// Its own bytes.
    Echo,
}

/// Events of a stream, and their size.
pub(crate) const EVENTS: usize = 40;
pub(crate) const LARGE: usize = 1 << 20;

impl Kind {
    pub(crate) const ALL: [Self; 16] = [
        Self::Unary,
        Self::LargePrompt,
        Self::LargeAnswer,
        Self::Stream,
        Self::SilentStream,
        Self::CloseDelimited,
        Self::RateLimited,
        Self::Slow,
        Self::Reset,
        Self::Hangup,
        Self::Torn,
        Self::Leaves,
        Self::SlowReader,
        Self::NoRoute,
        Self::Refused,
        Self::Upgrade,
    ];

    /// As the upstream is told it.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    pub(crate) fn name(self) -> String {
        format!("{self:?}")
    }

    /// Where it is sent.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::NoRoute => "/nowhere",
            Self::Refused => "/dead/v1/chat/completions",
            Self::Upgrade => "/v1/realtime",
            _ => "/v1/chat/completions",
        }
    }

    pub(crate) fn body(self) -> Vec<u8> {
        let head = r#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":""#;
        let tail = match self {
            Self::Stream | Self::Leaves | Self::SlowReader | Self::Reset | Self::Torn => {
                r#""}],"stream":true,"stream_options":{"include_usage":true}}"#
            }
            Self::SilentStream => r#""}],"stream":true}"#,
            _ => r#""}]}"#,
        };
        let length = if self == Self::LargePrompt { 200_000 } else { 600 };
        [head.as_bytes(), &vec![b'x'; length], tail.as_bytes()].concat()
    }

    pub(crate) fn expected(self) -> Expected {
        match self {
            Self::Unary | Self::LargePrompt | Self::CloseDelimited | Self::Slow => {
                Expected::Whole(200, answer(0).len())
            }
            Self::LargeAnswer => Expected::Whole(200, answer(LARGE).len()),
            Self::Stream | Self::SlowReader => Expected::Whole(200, stream(true).concat().len()),
            Self::SilentStream => Expected::Whole(200, stream(false).concat().len()),
            Self::RateLimited => Expected::Status(429),
            Self::Reset | Self::Torn => Expected::Broken,
            Self::Hangup | Self::Refused => Expected::Status(502),
            Self::Leaves => Expected::Left,
            Self::NoRoute => Expected::Status(404),
            Self::Upgrade => Expected::Echo,
        }
    }
}

/// A whole answer with so much text.
pub(crate) fn answer(text: usize) -> Vec<u8> {
    let head = r#"{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-4o-mini-2024-07-18","choices":[{"index":0,"message":{"role":"assistant","content":""#;
    let tail = r#""},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21}}"#;
    [head.as_bytes(), &vec![b'y'; text], tail.as_bytes()].concat()
}

/// The events of a stream; with usage where it was asked for.
pub(crate) fn stream(usage: bool) -> Vec<Vec<u8>> {
    let event = |rest: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"model\":\"gpt-4o-mini-2024-07-18\",{rest}}}\n\n"
        )
        .into_bytes()
    };
    let null = if usage { ",\"usage\":null" } else { "" };
    let mut events: Vec<_> = (0..EVENTS)
        .map(|at| {
            event(&format!(
                "\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"word {at} \"}},\"finish_reason\":null}}]{null}"
            ))
        })
        .collect();
    events.push(event(&format!(
        "\"choices\":[{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"stop\"}}]{null}"
    )));
    if usage {
        events.push(event(
            "\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":40,\"total_tokens\":49}",
        ));
    }
    events.push(b"data: [DONE]\n\n".to_vec());
    events
}
