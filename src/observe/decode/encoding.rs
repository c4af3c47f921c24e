//! Takes content encodings off a copied body, pushed in any chunks, up to a limit. Knows nothing of
//! what is inside.

use std::io::Write;

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::write::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};
use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

/// Encodings that may be stacked; nobody sends more than one.
const STACKED: usize = 4;
/// What one round of a decompressor gives at most.
const ROUND: usize = 8 * 1024;
/// The largest zstd window, 8 MiB: what RFC 9659 lets a sender use.
const ZSTD_WINDOW_LOG: u32 = 23;

/// So much may come out of however little: a short text that repeats itself is read whole.
const FREE: usize = 1 << 20;

/// What may come out of what is compressed: a few bytes must not become the work of many.
#[derive(Clone, Copy, Debug)]
pub struct Inflation {
    /// In all, in bytes.
    pub most: usize,
    /// For each byte that went in, once a MiB came out.
    pub ratio: usize,
}

impl Inflation {
    /// The most that may have come out once so many bytes went in.
    pub fn allows(self, encoded: usize) -> usize {
        self.most.min(self.for_each(encoded))
    }

    /// The same, if there were no most in all.
    pub fn for_each(self, encoded: usize) -> usize {
        encoded.saturating_mul(self.ratio).max(FREE)
    }
}

/// Why a body could not be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An encoding we do not know.
    Unknown,
    /// Bytes that are not of the encoding they claim.
    Broken,
    /// More bytes inside than the limit, or than what came can honestly hold.
    TooLarge,
    /// The body ended before the encoding did.
    Short,
    /// Bytes are missing within the body.
    Torn,
}

/// The encodings of one body. After a fault everything is ignored.
pub struct Encoding {
    // None for most bodies, which it costs nothing.
    decoding: Option<Box<Decoding>>,
    fault: Option<Fault>,
}

/// What takes them off.
struct Decoding {
    /// In the order in which they are taken off.
    stages: Vec<Stage>,
    limit: Inflation,
    encoded: usize,
}

/// One encoding, and how many bytes came out of it.
struct Stage {
    codec: Codec,
    given: usize,
}

enum Codec {
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    // `deflate` is zlib by the standard; some send it raw. The first byte tells.
    Deflate(Option<Box<Decompress>>, bool),
    Brotli(Box<Brotli>),
    Zstd(Box<Zstd>),
}

struct Brotli {
    state: BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    given: usize,
    ended: bool,
}

struct Zstd {
    context: DCtx<'static>,
    // The last byte read was a frame's last.
    ended: bool,
}

type Sink<'a> = &'a mut dyn FnMut(&[u8]);

impl Encoding {
    /// The decoder for the values of a body's `Content-Encoding` headers, joined with commas; no
    /// more than `limit` allows comes out.
    pub fn new(header: &str, limit: Inflation) -> Self {
        let names = header.split(',').map(str::trim);
        let names = names.filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case("identity"));
        let (mut stages, mut fault) = (Vec::new(), None);
        for name in names {
            match Codec::named(name) {
                Some(codec) if stages.len() < STACKED => {
                    stages.insert(0, Stage { codec, given: 0 });
                }
                _ => fault = Some(Fault::Unknown),
            }
        }
        let decoding = Decoding { stages, limit, encoded: 0 };
        let decoding = Some(decoding).filter(|it| !it.stages.is_empty()).map(Box::new);
        Self { decoding, fault }
    }

    /// Whether bytes go through as they are.
    pub fn is_identity(&self) -> bool {
        self.decoding.is_none() && self.fault.is_none()
    }

    /// Feeds `chunk` and hands on what comes out.
    pub fn push(&mut self, chunk: &[u8], sink: Sink<'_>) {
        match &mut self.decoding {
            _ if self.fault.is_some() => (),
            None => sink(chunk),
            Some(decoding) => {
                if let Err(fault) = decoding.push(chunk, sink) {
                    self.stop(fault);
                }
            }
        }
    }

    /// Bytes are missing from here: no encoding can go on.
    pub fn resync(&mut self) {
        if !self.is_identity() && self.fault.is_none() {
            self.stop(Fault::Torn);
        }
    }

    /// Nothing more is read, and nothing held.
    fn stop(&mut self, fault: Fault) {
        self.fault = Some(fault);
        self.decoding = None;
    }

    /// The body ended; `empty` tells that nothing came at all, which is no fault.
    pub fn finish(&mut self, empty: bool) {
        let mut stages = self.decoding.iter_mut().flat_map(|it| &mut it.stages);
        if self.fault.is_none() && !empty && !stages.all(Stage::ended) {
            self.fault = Some(Fault::Short);
        }
        self.decoding = None;
    }

    /// Why the body could not be read to its end.
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Bytes of its buffers, about.
    pub fn held(&self) -> usize {
        self.decoding.iter().flat_map(|it| &it.stages).map(Stage::held).sum()
    }
}

impl Decoding {
    fn push(&mut self, chunk: &[u8], sink: Sink<'_>) -> Result<(), Fault> {
        self.encoded = self.encoded.saturating_add(chunk.len());
        run(&mut self.stages, self.limit.allows(self.encoded), chunk, sink)
    }
}

impl std::fmt::Debug for Encoding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stages = self.decoding.as_ref().map_or(0, |it| it.stages.len());
        write!(f, "Encoding({stages} stages, {:?})", self.fault)
    }
}

/// Pushes `input` through all stages, out of each of which `allowed` bytes may have come by then.
fn run(stages: &mut [Stage], allowed: usize, input: &[u8], sink: Sink<'_>) -> Result<(), Fault> {
    let Some((stage, later)) = stages.split_first_mut() else {
        sink(input);
        return Ok(());
    };
    let given = &mut stage.given;
    stage.codec.push(input, &mut |output| {
        // Up to the limit, so that it does not matter how the input came.
        let left = allowed.saturating_sub(*given);
        let (within, beyond) = output.split_at(output.len().min(left));
        *given += within.len();
        run(later, allowed, within, sink)?;
        if beyond.is_empty() { Ok(()) } else { Err(Fault::TooLarge) }
    })
}

impl Stage {
    fn ended(&mut self) -> bool {
        match &mut self.codec {
            Codec::Gzip(decoder) => decoder.try_finish().is_ok(),
            Codec::Deflate(_, ended) => *ended,
            Codec::Brotli(brotli) => brotli.ended,
            Codec::Zstd(zstd) => zstd.ended,
        }
    }

    fn held(&self) -> usize {
        match &self.codec {
            // flate2's buffer, and the state of its inflater.
            Codec::Gzip(_) => 80 << 10,
            Codec::Deflate(..) => 44 << 10,
            // Tables, and a window that grows with what it gives, to at most 16 MiB.
            Codec::Brotli(brotli) => (64 << 10) + brotli.given.min(16 << 20),
            Codec::Zstd(zstd) => zstd.context.sizeof(),
        }
    }
}

type Round<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), Fault>;

impl Codec {
    fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => Some(Self::Gzip(Box::new(MultiGzDecoder::new(Vec::new())))),
            "deflate" => Some(Self::Deflate(None, false)),
            "br" => Some(Self::Brotli(Box::new(Brotli::new()))),
            "zstd" => Zstd::new().map(|zstd| Self::Zstd(Box::new(zstd))),
            _ => None,
        }
    }

    fn push(&mut self, input: &[u8], give: Round<'_>) -> Result<(), Fault> {
        match self {
            Self::Gzip(decoder) => gunzip(decoder, input, give),
            Self::Deflate(state, ended) => {
                let Some(&first) = input.first() else {
                    return Ok(());
                };
                let zlib = first & 0x0f == 8;
                let state = state.get_or_insert_with(|| Box::new(Decompress::new(zlib)));
                inflate(state, ended, input, give)
            }
            Self::Brotli(brotli) => brotli.push(input, give),
            Self::Zstd(zstd) => zstd.push(input, give),
        }
    }
}

/// One call of `write` takes what fills flate2's buffer of 32 KiB at most, so a bomb is seen early.
fn gunzip(
    decoder: &mut MultiGzDecoder<Vec<u8>>,
    mut input: &[u8],
    give: Round<'_>,
) -> Result<(), Fault> {
    while !input.is_empty() {
        let taken = decoder.write(input).map_err(|_| Fault::Broken)?;
        input = input.get(taken..).unwrap_or_default();
        give(decoder.get_ref())?;
        decoder.get_mut().clear();
    }
    decoder.flush().map_err(|_| Fault::Broken)?;
    give(decoder.get_ref())?;
    *decoder.get_mut() = Vec::new();
    Ok(())
}

fn inflate(
    state: &mut Decompress,
    ended: &mut bool,
    mut input: &[u8],
    give: Round<'_>,
) -> Result<(), Fault> {
    let mut output = [0; ROUND];
    while !*ended {
        let (before_in, before_out) = (state.total_in(), state.total_out());
        let status = state.decompress(input, &mut output, FlushDecompress::None);
        *ended = status.map_err(|_| Fault::Broken)? == Status::StreamEnd;
        let taken = (state.total_in() - before_in) as usize;
        let given = (state.total_out() - before_out) as usize;
        input = input.get(taken..).unwrap_or_default();
        give(output.get(..given).unwrap_or_default())?;
        if input.is_empty() && given < ROUND || taken == 0 && given == 0 {
            break;
        }
    }
    Ok(())
}

impl Brotli {
    fn new() -> Self {
        let alloc = StandardAlloc::default;
        let state = BrotliState::new_strict(alloc(), alloc(), alloc());
        Self { state, given: 0, ended: false }
    }

    fn push(&mut self, input: &[u8], give: Round<'_>) -> Result<(), Fault> {
        let mut output = [0; ROUND];
        let (mut left, mut read) = (input.len(), 0);
        while !self.ended {
            let (mut room, mut given, mut total) = (ROUND, 0, 0);
            let result = BrotliDecompressStream(
                &mut left,
                &mut read,
                input,
                &mut room,
                &mut given,
                &mut output,
                &mut total,
                &mut self.state,
            );
            self.given = self.given.saturating_add(given);
            give(output.get(..given).unwrap_or_default())?;
            match result {
                BrotliResult::ResultSuccess => self.ended = true,
                BrotliResult::NeedsMoreOutput => (),
                BrotliResult::NeedsMoreInput => break,
                BrotliResult::ResultFailure => return Err(Fault::Broken),
            }
        }
        Ok(())
    }
}

impl Zstd {
    fn new() -> Option<Self> {
        let mut context = DCtx::try_create()?;
        context.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG)).ok()?;
        Some(Self { context, ended: false })
    }

    fn push(&mut self, input: &[u8], give: Round<'_>) -> Result<(), Fault> {
        let mut buffer = [0; ROUND];
        let mut input = InBuffer::around(input);
        loop {
            let before = input.pos();
            let mut output = OutBuffer::around(&mut buffer[..]);
            let hint = self.context.decompress_stream(&mut output, &mut input);
            let hint = hint.map_err(|_| Fault::Broken)?;
            let given = output.pos();
            give(buffer.get(..given).unwrap_or_default())?;
            let stuck = given == 0 && input.pos() == before;
            if !stuck {
                self.ended = hint == 0;
            }
            if stuck || input.pos() == input.src.len() && given < ROUND {
                return Ok(());
            }
        }
    }
}

/// The fuzz target, also run by a unit test: whatever is claimed of any bytes, nothing panics, no
/// more than the limit comes out, and of what is not broken the same in any chunks.
#[cfg(any(test, fuzzing))]
pub fn fuzz(input: &[u8]) {
    const LIMIT: usize = 4096;
    for header in ["gzip", "deflate", "br", "zstd", "zstd, gzip", "identity, nonsense"] {
        let read = |size: usize| {
            let (mut encoding, mut given) =
                (Encoding::new(header, Inflation { most: LIMIT, ratio: 1 }), Vec::new());
            for chunk in input.chunks(size) {
                encoding.push(chunk, &mut |bytes| given.extend_from_slice(bytes));
            }
            encoding.finish(input.is_empty());
            assert!(given.len() <= LIMIT, "{header}: more than the limit");
            (encoding.fault(), given)
        };
        let (whole, cut) = (read(usize::MAX), read(3));
        let broken = |fault| fault == Some(Fault::Broken);
        // Where it breaks, it depends on the chunks how far a decoder gets before it sees that.
        assert!(whole == cut || broken(whole.0) || broken(cut.0), "{header}: the chunking matters");
        assert!(whole.0.is_some() || cut.0.is_none(), "{header}: broken by chunking");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::decode::chunking;

    const TEXT: &[u8] = b"{\"content\":\"The same words, the same words, the same words.\"}";
    // TEXT in brotli, which we have no encoder for.
    const BROTLI: &[u8] = &[
        0x1b, 0x3c, 0x00, 0xe0, 0x8d, 0xd4, 0x62, 0xcd, 0x18, 0xef, 0x94, 0x22, 0x74, 0x7b, 0xa5,
        0xd3, 0x07, 0x13, 0x39, 0x70, 0x08, 0xac, 0x2d, 0x3e, 0xca, 0x61, 0x03, 0x0e, 0x12, 0x88,
        0xa8, 0xe5, 0xe6, 0x50, 0xa2, 0xb1, 0x1a, 0x7c, 0x82, 0x53, 0x71, 0x14,
    ];

    fn most(most: usize) -> Inflation {
        Inflation { most, ratio: 1 }
    }

    fn write(mut encoder: impl Write) {
        encoder.write_all(TEXT).unwrap();
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn encoded() -> Vec<(&'static str, Vec<u8>)> {
        let (mut zlib, mut raw) = (Vec::new(), Vec::new());
        write(flate2::write::ZlibEncoder::new(&mut zlib, flate2::Compression::fast()));
        write(flate2::write::DeflateEncoder::new(&mut raw, flate2::Compression::fast()));
        let zstd = zstd::encode_all(TEXT, 3).unwrap();
        vec![
            ("identity", TEXT.to_vec()),
            ("", TEXT.to_vec()),
            ("gzip", gzip(TEXT)),
            ("X-GZIP", gzip(TEXT)),
            ("gzip", [gzip(&TEXT[..20]), gzip(&TEXT[20..])].concat()),
            ("deflate", zlib),
            ("deflate", raw),
            ("br", BROTLI.to_vec()),
            ("zstd", zstd.clone()),
            ("zstd, identity , gzip", gzip(&zstd)),
        ]
    }

    fn decode<'a>(
        header: &str,
        limit: usize,
        chunks: impl IntoIterator<Item = &'a [u8]>,
    ) -> (Vec<u8>, Option<Fault>) {
        let (mut encoding, mut out) = (Encoding::new(header, most(limit)), Vec::new());
        let mut empty = true;
        for chunk in chunks {
            empty = false;
            encoding.push(chunk, &mut |bytes| out.extend_from_slice(bytes));
        }
        encoding.finish(empty);
        (out, encoding.fault())
    }

    #[test]
    fn each_encoding_comes_off_in_any_chunks() {
        for (header, bytes) in encoded() {
            let expected = (TEXT.to_vec(), None);
            assert_eq!(decode(header, 1000, [&bytes[..]]), expected, "{header}");
            assert_eq!(decode(header, 1000, bytes.chunks(1)), expected, "{header}");
            for cut in 1..bytes.len() {
                let (one, two) = bytes.split_at(cut);
                assert_eq!(decode(header, 1000, [one, two]), expected, "{header} {cut}");
            }
            for seed in 0..200 {
                assert_eq!(decode(header, 1000, chunking(seed, &bytes)), expected, "{header}");
            }
        }
    }

    #[test]
    fn a_long_body_comes_off_whole() {
        let mut random = fastrand::Rng::with_seed(3);
        let text: Vec<u8> = (0..300_000).map(|i| random.u8(..) & (i >> 12) as u8).collect();
        let zstd = zstd::encode_all(&text[..], 3).unwrap();
        for (header, bytes) in [("gzip", gzip(&text)), ("zstd", zstd)] {
            for size in [100, 16_384, usize::MAX] {
                let (out, fault) = decode(header, 300_000, bytes.chunks(size));
                assert_eq!((out == text, fault), (true, None), "{header} {size}");
            }
            let (out, fault) = decode(header, 299_999, [&bytes[..]]);
            assert!(out.len() < 300_000 && fault == Some(Fault::TooLarge), "{header}");
        }
    }

    #[test]
    fn past_a_mib_no_more_comes_out_than_what_came_can_honestly_hold() {
        let out = |text: &[u8], ratio: usize, size: usize| {
            let (mut encoding, mut out) =
                (Encoding::new("gzip", Inflation { most: 64 << 20, ratio }), 0);
            gzip(text)
                .chunks(size)
                .for_each(|chunk| encoding.push(chunk, &mut |it| out += it.len()));
            encoding.finish(false);
            assert_eq!(encoding.held(), 0);
            (out, encoding.fault())
        };
        let zeros = vec![0; 8 << 20];
        for size in [100, 16 << 10, usize::MAX] {
            assert_eq!(out(&zeros[..FREE], 1, size), (FREE, None), "{size}");
            assert_eq!(out(&zeros[..FREE + 1], 1, size), (FREE, Some(Fault::TooLarge)), "{size}");
            let sent = gzip(&zeros).len();
            let (given, fault) = out(&zeros, 100, size);
            assert!(given <= sent * 100, "{given} of {sent}");
            assert_eq!(fault, Some(Fault::TooLarge));
        }
        assert_eq!(out(&zeros, 2000, usize::MAX), (8 << 20, None));
        let mut random = fastrand::Rng::with_seed(5);
        let text: Vec<u8> = (0..2 << 20).map(|_| random.alphanumeric() as u8).collect();
        assert_eq!(out(&text, 2, 16 << 10), (text.len(), None));
    }

    #[test]
    fn what_is_flushed_is_seen_at_once() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let (mut encoding, mut out) = (Encoding::new("gzip", most(1000)), Vec::new());
        for part in ["data: 1\n\n", "data: 2\n\n"] {
            encoder.write_all(part.as_bytes()).unwrap();
            encoder.flush().unwrap();
            let bytes = std::mem::take(encoder.get_mut());
            encoding.push(&bytes, &mut |bytes| out.extend_from_slice(bytes));
            assert!(out.ends_with(part.as_bytes()), "{part}");
        }
    }

    #[test]
    fn bytes_that_are_not_what_they_claim_are_a_fault() {
        for header in ["gzip", "deflate", "br", "zstd"] {
            let (out, fault) = decode(header, 1000, [&b"{\"not\": \"encoded\"}\xff\xff"[..]]);
            assert!(matches!(fault, Some(Fault::Broken | Fault::Short)), "{header} {fault:?}");
            assert!(out.len() < 1000);
        }
        assert_eq!(decode("compress", 1000, [TEXT]), (vec![], Some(Fault::Unknown)));
        assert_eq!(decode(&"gzip,".repeat(5), 1000, [TEXT]), (vec![], Some(Fault::Unknown)));
    }

    #[test]
    fn a_body_that_ends_early_gives_what_it_has_and_a_fault() {
        for (header, bytes) in encoded().into_iter().skip(2) {
            let (out, fault) = decode(header, 1000, [&bytes[..bytes.len() - 3]]);
            assert_eq!(fault, Some(Fault::Short), "{header}");
            assert!(TEXT.starts_with(&out), "{header}");
        }
        assert_eq!(decode("gzip", 1000, []), (vec![], None), "nothing is no fault");
    }

    #[test]
    fn bombs_stop_at_the_limit() {
        let zeros = vec![0; 8 << 20];
        for (header, bytes) in [
            ("gzip", gzip(&zeros)),
            ("gzip, gzip", gzip(&gzip(&zeros))),
            ("zstd", zstd::encode_all(&zeros[..], 19).unwrap()),
        ] {
            let (out, fault) = decode(header, 100_000, [&bytes[..]]);
            assert_eq!(fault, Some(Fault::TooLarge), "{header}");
            assert!(out.len() <= 100_000, "{header}");
        }
    }

    #[test]
    fn after_a_gap_nothing_encoded_can_be_read() {
        let mut encoding = Encoding::new("gzip", most(1000));
        encoding.push(&gzip(TEXT)[..20], &mut |_| ());
        encoding.resync();
        encoding.push(&gzip(TEXT), &mut |_| panic!("read after a gap"));
        assert_eq!(encoding.fault(), Some(Fault::Torn));
        let mut identity = Encoding::new("", most(1000));
        identity.resync();
        assert_eq!(identity.fault(), None);
    }

    #[test]
    fn exercise_fuzz() {
        let mut random = fastrand::Rng::with_seed(2);
        for (_, bytes) in encoded() {
            fuzz(&bytes);
            for _ in 0..50 {
                let mut bytes = bytes.clone();
                let at = random.usize(..bytes.len());
                bytes[at] = random.u8(..);
                fuzz(&bytes);
            }
        }
        fuzz(&zstd::encode_all(&vec![0; 1 << 20][..], 3).unwrap());
    }
}
