//! What a body is: by its content type, and by its first bytes where the two disagree. Knows no
//! provider.

/// How many bytes are looked at before giving up: leading blanks, and the longest field name.
const LOOK: usize = 64;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// What lines of JSON are called.
const NDJSON: [&str; 6] = [
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/x-jsonl",
    "application/jsonlines",
    "application/stream+json",
];
/// What text without a structure is called, subtitles among it.
const TEXT: [&str; 5] =
    ["text/plain", "text/vtt", "text/srt", "application/srt", "application/x-subrip"];
/// Kinds of bodies that are never read.
const OPAQUE: [&str; 5] = ["audio", "image", "video", "multipart", "font"];

/// What a content type promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Media {
    /// `text/event-stream`.
    Sse,
    /// `application/x-ndjson` and its other names.
    Ndjson,
    /// `application/json`, `application/problem+json`.
    Json,
    /// The same, where a list is a stream of its elements.
    Elements,
    /// Sound, pictures, forms: never read.
    Opaque,
    /// Plain text. Servers call JSON and events so, too: where it is not the answer itself, the first
    /// bytes decide.
    Text,
    /// Anything else, or nothing: the first bytes decide.
    #[default]
    Unknown,
}

/// What a body's first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Read as server-sent events.
    Sse,
    /// Read as lines of JSON.
    Ndjson,
    /// Read as the elements of one JSON list.
    Elements,
    /// Read as one JSON document.
    Json,
    /// Read as a form.
    Form,
    /// A page for a person, in HTML or XML, as no API writes its answers. Not read.
    Page,
    /// Not read.
    Opaque,
}

impl Shape {
    /// Whether it comes in frames.
    pub fn is_stream(self) -> bool {
        matches!(self, Self::Sse | Self::Ndjson | Self::Elements)
    }
}

impl Media {
    /// Of a `Content-Type` header's value; its parameters do not matter.
    pub fn of(content_type: &str) -> Self {
        let media = content_type.split(';').next().unwrap_or_default().trim_ascii();
        let is = |names: &[&str]| names.iter().any(|name| media.eq_ignore_ascii_case(name));
        let kind = media.split('/').next().unwrap_or_default();
        let of = |kinds: &[&str]| kinds.iter().any(|it| kind.eq_ignore_ascii_case(it));
        if is(&["application/json", "text/json"]) {
            Self::Json
        } else if is(&["text/event-stream"]) {
            Self::Sse
        } else if is(&NDJSON) {
            Self::Ndjson
        } else if is(&TEXT) {
            Self::Text
        } else if is(&["application/octet-stream"]) || of(&OPAQUE) {
            Self::Opaque
        } else if media.to_ascii_lowercase().ends_with("+json") {
            Self::Json
        } else {
            Self::Unknown
        }
    }

    /// How to read a body that begins with `head`, or none where more of it must be seen. Servers
    /// mislabel: an error in JSON under `text/event-stream`, events under `application/json`.
    pub fn shape(self, head: &[u8]) -> Option<Shape> {
        if self == Self::Opaque {
            return Some(Shape::Opaque);
        }
        if BOM.starts_with(head) {
            return None;
        }
        let body = head.strip_prefix(BOM).unwrap_or(head).trim_ascii_start();
        match body.first() {
            None if head.len() < LOOK => None,
            Some(b'{' | b'[') if self == Self::Ndjson => Some(Shape::Ndjson),
            Some(b'[') if self == Self::Elements => Some(Shape::Elements),
            Some(b'{' | b'[') => Some(Shape::Json),
            Some(b':') => Some(Shape::Sse),
            Some(b'<') => Some(Shape::Page),
            _ => match self {
                Self::Sse => Some(Shape::Sse),
                Self::Ndjson => Some(Shape::Ndjson),
                // No JSON begins like the name of an event's field.
                Self::Json | Self::Elements
                    if !body.starts_with(b"d") && !body.starts_with(b"e") =>
                {
                    Some(Shape::Json)
                }
                _ => events(body),
            },
        }
    }

    /// How to read a body that ended before its shape was clear.
    pub fn shape_at_end(self) -> Shape {
        match self {
            Self::Sse => Shape::Sse,
            Self::Ndjson => Shape::Ndjson,
            Self::Json | Self::Elements => Shape::Json,
            Self::Opaque | Self::Text | Self::Unknown => Shape::Opaque,
        }
    }
}

/// Whether a body without a promise begins like an event.
fn events(body: &[u8]) -> Option<Shape> {
    const FIELDS: [&[u8]; 4] = [b"data:", b"event:", b"id:", b"retry:"];
    if FIELDS.iter().any(|field| body.starts_with(field)) {
        Some(Shape::Sse)
    } else if FIELDS.iter().any(|field| field.starts_with(body)) {
        None
    } else {
        Some(Shape::Opaque)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_type_is_read_without_its_parameters() {
        for (content_type, media) in [
            ("text/event-stream; charset=utf-8", Media::Sse),
            ("Text/Event-Stream", Media::Sse),
            ("application/x-ndjson", Media::Ndjson),
            ("application/json;charset=utf-8", Media::Json),
            ("application/problem+json", Media::Json),
            ("multipart/form-data; boundary=x", Media::Opaque),
            ("audio/mpeg", Media::Opaque),
            ("text/plain; charset=utf-8", Media::Text),
            ("text/vtt", Media::Text),
            ("text/html", Media::Unknown),
            ("", Media::Unknown),
        ] {
            assert_eq!(Media::of(content_type), media, "{content_type}");
        }
    }

    #[test]
    fn the_first_bytes_win_over_the_label() {
        for (media, head, shape) in [
            (Media::Sse, "data: x", Shape::Sse),
            (Media::Sse, "{\"error\":1}", Shape::Json),
            (Media::Json, "data: {}", Shape::Sse),
            (Media::Json, "event: x", Shape::Sse),
            (Media::Json, "\n: ping", Shape::Sse),
            (Media::Json, "true", Shape::Json),
            (Media::Unknown, "data: {}", Shape::Sse),
            (Media::Unknown, "\u{feff}data:{}", Shape::Sse),
            (Media::Unknown, " \n[1]", Shape::Json),
            (Media::Unknown, "dataset", Shape::Opaque),
            (Media::Text, "data: {}", Shape::Sse),
            (Media::Text, "1\n00:00", Shape::Opaque),
            (Media::Unknown, "<html>", Shape::Page),
            (Media::Json, "\n<?xml", Shape::Page),
            (Media::Sse, "<html>", Shape::Page),
            (Media::Ndjson, "{}", Shape::Ndjson),
            (Media::Elements, "\n[{", Shape::Elements),
            (Media::Elements, "{", Shape::Json),
            (Media::Elements, "data: {}", Shape::Sse),
            (Media::Opaque, "{}", Shape::Opaque),
        ] {
            assert_eq!(media.shape(head.as_bytes()), Some(shape), "{media:?} {head}");
        }
    }

    #[test]
    fn a_decision_does_not_depend_on_how_much_is_seen() {
        let heads =
            ["data: {}", "event: x", "eventually", "id: 1", "retry:2", "\u{feff}\n {}", "<html>"];
        for media in [Media::Sse, Media::Ndjson, Media::Json, Media::Elements, Media::Unknown] {
            for head in heads {
                let whole = media.shape(head.as_bytes());
                for end in 0..head.len() {
                    let part = media.shape(&head.as_bytes()[..end]);
                    assert!(part.is_none() || part == whole, "{media:?} {head} {end} {part:?}");
                }
            }
        }
    }
}
