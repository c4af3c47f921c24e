//! One body, from copied bytes on the wire to frames or one document. Knows no provider.

use super::Frame;
use super::cut::Cut;
use super::elements::Elements;
use super::encoding::{Encoding, Fault, Inflation};
use super::json::{Document, Json};
use super::media::{Media, Shape};
use super::multipart::Multipart;
use super::ndjson::Ndjson;
use super::sse::{Event, Sse};

/// What comes out of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// One event, line or element of a stream.
    Frame(Frame<'a>),
    /// The one document, at the end.
    Document(Document<'a>),
}

impl<'a> From<Event<'a>> for Piece<'a> {
    fn from(event: Event<'a>) -> Self {
        match event {
            Event::Whole(frame) => Self::Frame(frame),
            Event::Tail(tail) => Self::Document(Document::Tail(tail)),
        }
    }
}

/// The bounds of one body, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest event, line or element.
    pub event: usize,
    /// The longest document.
    pub document: usize,
    /// What may come out of a content encoding.
    pub decoded: Inflation,
}

/// A body that is being read.
#[derive(Debug)]
pub struct Body {
    encoding: Encoding,
    framing: Framing,
}

/// What is left once the content encoding is off.
#[derive(Debug)]
struct Framing {
    media: Media,
    // Drops what is not wanted of long texts.
    cut: Option<Cut>,
    event: usize,
    document: usize,
    parser: Parser,
    empty: bool,
    // Bytes that are to come, as far as that is known.
    announced: usize,
}

#[derive(Debug)]
enum Parser {
    /// The first bytes, until they tell what follows.
    Undecided(Vec<u8>),
    Sse(Sse),
    Ndjson(Ndjson),
    Elements(Elements),
    Json(Json),
    Form(Box<Multipart>),
    Page,
    Opaque,
}

type Sink<'a> = &'a mut dyn FnMut(Piece<'_>);

impl Body {
    /// A body of which nothing came yet; `encoding` is its `Content-Encoding`.
    pub fn new(media: Media, encoding: &str, limits: Limits) -> Self {
        let parser = match media {
            Media::Opaque => Parser::Opaque,
            _ => Parser::Undecided(Vec::new()),
        };
        let encoding = match media {
            Media::Opaque => Encoding::new("", limits.decoded),
            _ => Encoding::new(encoding, limits.decoded),
        };
        let (cut, announced, Limits { event, document, .. }) = (None, 0, limits);
        Self {
            encoding,
            framing: Framing { media, cut, event, document, parser, empty: true, announced },
        }
    }

    /// A form of which nothing came yet; its short fields come out as one document.
    pub fn form(boundary: &[u8], encoding: &str, limits: Limits) -> Self {
        let mut body = Self::new(Media::Unknown, encoding, limits);
        body.framing.parser = Parser::Form(Box::new(Multipart::new(boundary)));
        body
    }

    /// The same without the middle of long texts in base64.
    pub fn cut(mut self) -> Self {
        self.framing.cut = Some(Cut::default());
        self
    }

    /// With so many `bytes` to come, as its head says. It is believed only for memory, and in part.
    pub fn announced(mut self, bytes: usize) -> Self {
        if self.encoding.is_identity() && self.framing.cut.is_none() {
            self.framing.announced = bytes;
        }
        self
    }

    /// A body that nobody reads.
    pub fn unread() -> Self {
        let decoded = Inflation { most: 0, ratio: 0 };
        Self::new(Media::Opaque, "", Limits { event: 0, document: 0, decoded })
    }

    /// Feeds `chunk` and hands on what it completes.
    pub fn push(&mut self, chunk: &[u8], sink: Sink<'_>) {
        let Self { encoding, framing } = self;
        framing.empty &= chunk.is_empty();
        if encoding.is_identity() {
            framing.read(chunk, sink);
        } else {
            encoding.push(chunk, &mut |bytes| framing.read(bytes, sink));
        }
    }

    /// Bytes are missing from here.
    pub fn resync(&mut self) {
        self.framing.empty = false;
        self.encoding.resync();
        self.framing.resync();
    }

    /// The body ended: hands on what is left.
    pub fn finish(&mut self, sink: Sink<'_>) {
        self.encoding.finish(self.framing.empty);
        self.framing.finish(sink);
    }

    /// Why the content encoding could not be taken off.
    pub fn fault(&self) -> Option<Fault> {
        self.encoding.fault()
    }

    /// Whether nothing came, not even a gap.
    pub fn is_empty(&self) -> bool {
        self.framing.empty
    }

    /// How it is read, where that is clear.
    pub fn shape(&self) -> Option<Shape> {
        match &self.framing.parser {
            Parser::Undecided(_) => None,
            Parser::Sse(_) => Some(Shape::Sse),
            Parser::Ndjson(_) => Some(Shape::Ndjson),
            Parser::Elements(_) => Some(Shape::Elements),
            Parser::Json(_) => Some(Shape::Json),
            Parser::Form(_) => Some(Shape::Form),
            Parser::Page => Some(Shape::Page),
            Parser::Opaque => Some(Shape::Opaque),
        }
    }

    /// Events, lines and elements that were over the limit.
    pub fn skipped(&self) -> u64 {
        match &self.framing.parser {
            Parser::Sse(sse) => sse.skipped(),
            Parser::Ndjson(ndjson) => ndjson.skipped(),
            Parser::Elements(elements) => elements.skipped(),
            Parser::Undecided(_) | Parser::Json(_) | Parser::Form(_) => 0,
            Parser::Page | Parser::Opaque => 0,
        }
    }

    /// Bytes of its buffers, about.
    pub fn held(&self) -> usize {
        let parser = match &self.framing.parser {
            Parser::Undecided(head) => head.capacity(),
            Parser::Sse(sse) => sse.held(),
            Parser::Ndjson(ndjson) => ndjson.held(),
            Parser::Elements(elements) => elements.held(),
            Parser::Json(json) => json.held(),
            Parser::Form(form) => form.held(),
            Parser::Page | Parser::Opaque => 0,
        };
        self.encoding.held() + parser
    }
}

impl Framing {
    fn read(&mut self, bytes: &[u8], sink: Sink<'_>) {
        let Some(mut cut) = self.cut.take() else {
            return self.push(bytes, sink);
        };
        cut.push(bytes, &mut |kept| self.push(kept, sink));
        self.cut = Some(cut);
    }

    fn push(&mut self, bytes: &[u8], sink: Sink<'_>) {
        match &mut self.parser {
            Parser::Undecided(head) if head.is_empty() => match self.media.shape(bytes) {
                Some(shape) => self.begin(shape, bytes, sink),
                None => head.extend_from_slice(bytes),
            },
            Parser::Undecided(head) => {
                head.extend_from_slice(bytes);
                if let Some(shape) = self.media.shape(head) {
                    let head = std::mem::take(head);
                    self.begin(shape, &head, sink);
                }
            }
            Parser::Sse(sse) => sse.push(bytes, |event| sink(event.into())),
            Parser::Ndjson(ndjson) => ndjson.push(bytes, |frame| sink(Piece::Frame(frame))),
            Parser::Elements(elements) => elements.push(bytes, |frame| sink(Piece::Frame(frame))),
            Parser::Json(json) => json.push(bytes),
            Parser::Form(form) => form.push(bytes),
            Parser::Page | Parser::Opaque => (),
        }
    }

    /// It is clear how to read the body, of which `bytes` came so far.
    fn begin(&mut self, shape: Shape, bytes: &[u8], sink: Sink<'_>) {
        self.parser = match shape {
            Shape::Sse => Parser::Sse(Sse::new(self.event)),
            Shape::Ndjson => Parser::Ndjson(Ndjson::new(self.event)),
            Shape::Elements => Parser::Elements(Elements::new(self.event)),
            Shape::Json => Parser::Json(Json::new(self.document, self.announced)),
            // No first bytes say that it is a form.
            Shape::Page => Parser::Page,
            Shape::Form | Shape::Opaque => Parser::Opaque,
        };
        self.push(bytes, sink);
    }

    fn begin_at_end(&mut self, sink: Sink<'_>) {
        if let Parser::Undecided(head) = &mut self.parser {
            let head = std::mem::take(head);
            self.begin(self.media.shape_at_end(), &head, sink);
        }
    }

    fn resync(&mut self) {
        // What follows a gap tells nothing of how the body began.
        self.begin_at_end(&mut |_| ());
        if let Some(cut) = &mut self.cut {
            cut.resync();
        }
        match &mut self.parser {
            Parser::Sse(sse) => sse.resync(),
            Parser::Ndjson(ndjson) => ndjson.resync(),
            Parser::Elements(elements) => elements.resync(),
            Parser::Json(json) => json.resync(),
            Parser::Form(form) => form.resync(),
            Parser::Undecided(_) | Parser::Page | Parser::Opaque => (),
        }
    }

    fn finish(&mut self, sink: Sink<'_>) {
        self.begin_at_end(sink);
        match &mut self.parser {
            Parser::Sse(sse) => sse.finish(|event| sink(event.into())),
            Parser::Ndjson(ndjson) => ndjson.finish(|frame| sink(Piece::Frame(frame))),
            Parser::Elements(elements) => elements.finish(),
            Parser::Json(json) => json.finish(|document| sink(Piece::Document(document))),
            Parser::Form(form) => sink(Piece::Document(Document::Whole(&form.finish()))),
            Parser::Undecided(_) | Parser::Page | Parser::Opaque => (),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { event: 64, document: 64, decoded: Inflation { most: 1024, ratio: 1 } };

    fn pieces(mut body: Body, chunks: &[&[u8]]) -> Vec<String> {
        let mut found = Vec::new();
        let mut keep = |piece: Piece<'_>| {
            found.push(match piece {
                Piece::Frame(frame) => format!("frame {}", String::from_utf8_lossy(frame.data)),
                Piece::Document(Document::Whole(bytes)) => {
                    format!("whole {}", String::from_utf8_lossy(bytes))
                }
                Piece::Document(other) => format!("{other:?}"),
            });
        };
        chunks.iter().for_each(|chunk| body.push(chunk, &mut keep));
        body.finish(&mut keep);
        found
    }

    #[test]
    fn each_shape_comes_out_in_any_chunks() {
        for (media, input, expected) in [
            (Media::Unknown, "data: 1\n\ndata: 2\n\n", vec!["frame 1", "frame 2"]),
            (Media::Sse, "data: 1\n\n", vec!["frame 1"]),
            (Media::Sse, "{\"error\":1}", vec!["whole {\"error\":1}"]),
            (Media::Ndjson, "{}\n{}\n", vec!["frame {}", "frame {}"]),
            (Media::Elements, "[{},\n[2]]", vec!["frame {}", "frame [2]"]),
            (Media::Elements, "{\"error\":1}", vec!["whole {\"error\":1}"]),
            (Media::Json, " {} ", vec!["whole  {} "]),
            (Media::Json, "", vec!["whole "]),
            (Media::Unknown, "<html>", vec![]),
            (Media::Unknown, "da", vec![]),
        ] {
            for cut in 0..input.len() {
                let (one, two) = input.as_bytes().split_at(cut);
                let body = Body::new(media, "", LIMITS);
                assert_eq!(pieces(body, &[one, two]), expected, "{media:?} {input} {cut}");
            }
            let whole = pieces(Body::new(media, "", LIMITS), &[input.as_bytes()]);
            assert_eq!(whole, expected);
        }
    }

    #[test]
    fn a_form_is_one_document_of_what_was_found_around_a_gap() {
        let part =
            |name: &str| format!("--b\r\nContent-Disposition: form-data; name={name}\r\n\r\n1\r\n");
        let (one, two) = (part("one"), part("two") + "--b--");
        let whole = r#"whole {"one":1,"two":1}"#;
        let form = || Body::form(b"b", "", LIMITS);
        assert_eq!(pieces(form(), &[one.as_bytes(), two.as_bytes()]), [whole]);
        let mut torn = form();
        torn.push((one + &part("lost")[..20]).as_bytes(), &mut |_| ());
        torn.resync();
        assert_eq!(pieces(torn, &[b"st\r\n", two.as_bytes()]), [whole]);
    }

    #[test]
    fn long_base64_does_not_count_against_a_limit() {
        let limits = Limits { document: 4096, event: 4096, ..LIMITS };
        let limits = Limits { decoded: Inflation { most: 1 << 20, ratio: 1 }, ..limits };
        let long = format!("{{\"b\":\"{}\",\"c\":1}}", "A".repeat(100_000));
        for (media, text) in
            [(Media::Json, long.clone()), (Media::Sse, format!("data: {long}\n\n"))]
        {
            let cut = Body::new(media, "", limits).cut();
            let found = pieces(cut, &[text.as_bytes()]).remove(0);
            assert!(found.ends_with("A\",\"c\":1}") && found.len() < 3000, "{media:?}");
            let whole = pieces(Body::new(media, "", limits), &[text.as_bytes()]);
            assert!(!whole.iter().any(|it| it.contains("\"c\"")), "{media:?} was over the limit");
        }
    }

    #[test]
    fn a_document_over_the_limit_says_so() {
        let long = format!("[{}1]", "1,".repeat(64));
        let body = Body::new(Media::Json, "", LIMITS);
        assert_eq!(pieces(body, &[long.as_bytes()]), ["TooLong"]);
    }

    #[test]
    fn a_gap_before_the_first_byte_leaves_only_the_label() {
        let mut body = Body::new(Media::Sse, "", LIMITS);
        body.resync();
        let expected = [format!("{:?}", Document::Tail(b"{\"cut")), "frame 1".to_owned()];
        assert_eq!(pieces(body, &[b"{\"cut\n\ndata: 1\n\n"]), expected);
        let mut body = Body::new(Media::Unknown, "", LIMITS);
        body.resync();
        assert_eq!(pieces(body, &[b"data: 1\n\n"]), Vec::<String>::new());
    }
}
