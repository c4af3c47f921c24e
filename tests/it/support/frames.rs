//! WebSocket frames as either side sends them, plain or deflated, and whole conversations of them in files.
//! Knows no meaning of any message.

use std::fs;
use std::path::{Path, PathBuf};

use flate2::{Compress, Compression, FlushCompress};

/// One side's frames.
pub(crate) struct Framer {
    mask: Option<[u8; 4]>,
    deflate: Option<(Compress, bool)>,
}

impl Framer {
    /// A client masks what it says; `extensions` is what was agreed on.
    pub(crate) fn new(is_client: bool, extensions: &str) -> Self {
        let side = if is_client { "client" } else { "server" };
        let keeps = !extensions.contains(&format!("{side}_no_context_takeover"));
        let compress = || Compress::new(Compression::default(), false);
        let deflate = extensions.contains("permessage-deflate").then(|| (compress(), keeps));
        Self { mask: is_client.then_some([7, 0, 255, 42]), deflate }
    }

    /// A text message.
    pub(crate) fn text(&mut self, text: &str) -> Vec<u8> {
        let Some((compress, keeps)) = &mut self.deflate else {
            return self.frame(0x81, text.as_bytes());
        };
        let mut payload = Vec::with_capacity(text.len() + 64);
        compress.compress_vec(text.as_bytes(), &mut payload, FlushCompress::Sync).unwrap();
        assert!(payload.ends_with(&[0, 0, 255, 255]), "it was flushed");
        payload.truncate(payload.len() - 4);
        if !*keeps {
            compress.reset();
        }
        self.frame(0xc1, &payload)
    }

    /// The end, with a code.
    pub(crate) fn close(&self, code: u16) -> Vec<u8> {
        self.frame(0x88, &code.to_be_bytes())
    }

    fn frame(&self, first: u8, payload: &[u8]) -> Vec<u8> {
        let masked = if self.mask.is_some() { 0x80 } else { 0 };
        let mut frame = vec![first];
        match u16::try_from(payload.len()) {
            Ok(short @ 0..126) => frame.push(masked | short as u8),
            Ok(length) => {
                frame.push(masked | 126);
                frame.extend(length.to_be_bytes());
            }
            Err(_) => {
                frame.push(masked | 127);
                frame.extend((payload.len() as u64).to_be_bytes());
            }
        }
        let mask = self.mask.unwrap_or_default();
        frame.extend(mask.iter().filter(|_| self.mask.is_some()));
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        frame
    }
}

/// What one side does in a conversation.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    /// The client, or the upstream.
    pub(crate) is_client: bool,
    /// Milliseconds since zero.
    pub(crate) at: u64,
    /// Its messages.
    pub(crate) says: Vec<Said>,
}

/// One message.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    Text(String),
    Close(u16),
}

/// A conversation of our own making, `tests/fixtures/DIALECT/NAME.ws`.
#[derive(Clone, Debug)]
pub(crate) struct Conversation {
    /// `openai/responses_two_calls`.
    pub(crate) name: String,
    pub(crate) dialect: String,
    /// The upgraded request's target.
    pub(crate) target: String,
    /// More of the request's header lines.
    pub(crate) headers: String,
    /// How the connection ended, where not well: the name of the cause.
    pub(crate) ending: Option<String>,
    pub(crate) turns: Vec<Turn>,
}

impl Conversation {
    fn parse(dialect: &str, name: &str, text: &str) -> Self {
        let mut of = Self {
            name: format!("{dialect}/{name}"),
            dialect: dialect.to_owned(),
            target: String::new(),
            headers: String::new(),
            ending: None,
            turns: Vec::new(),
        };
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match (word, of.turns.last_mut()) {
                ("GET", _) => of.target = rest.to_owned(),
                ("ending:", _) => of.ending = Some(rest.to_owned()),
                ("client" | "server", _) if rest.parse::<u64>().is_ok() => {
                    let (is_client, at) = (word == "client", rest.parse().unwrap());
                    of.turns.push(Turn { is_client, at, says: Vec::new() });
                }
                ("close", Some(turn)) => turn.says.push(Said::Close(rest.parse().expect(name))),
                (_, Some(turn)) => turn.says.push(Said::Text(line.to_owned())),
                (_, None) => of.headers += &format!("{line}\n"),
            }
        }
        of
    }

    /// Where `NAME.expected` stands.
    pub(crate) fn expectation(&self) -> PathBuf {
        root().join(format!("{}.expected", self.name))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// All of them, in the order of their names.
pub(crate) fn conversations() -> Vec<Conversation> {
    let mut found = Vec::new();
    for folder in fs::read_dir(root()).unwrap().map(|it| it.unwrap().path()) {
        let files = fs::read_dir(&folder).into_iter().flatten().map(|it| it.unwrap().path());
        for file in files.filter(|it| it.extension().is_some_and(|it| it == "ws")) {
            let dialect = folder.file_name().unwrap().to_str().unwrap();
            let name = file.file_stem().unwrap().to_str().unwrap();
            found.push(Conversation::parse(dialect, name, &fs::read_to_string(&file).unwrap()));
        }
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}
