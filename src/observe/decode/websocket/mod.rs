//! WebSocket messages of one direction, from copied bytes pushed in any chunks: frames (RFC 6455) joined
//! to messages, and those inflated (RFC 7692). Knows no message's meaning.

/// Which extensions both sides agreed on.
mod extensions;
/// permessage-deflate taken off.
mod inflate;

use std::io::Cursor;
use std::time::Duration;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::encoding::{Fault, Inflation};
use inflate::Inflater;

pub use extensions::{Compression, Extensions};

/// The longest header of a frame.
const HEADER: usize = 14;
/// The longest payload of a control frame.
const CONTROL: u64 = 125;
/// So much may come out of compressed messages for each second that a connection lasts, however little was
/// sent: sound is said in real time, and a muted microphone deflates to nothing. Twice what OpenAI's
/// `audio/pcm` takes in base64 (24 kHz, 16 bits, one channel).
const EACH_SECOND: usize = 128 << 10;
/// The code of a close frame without one (RFC 6455 7.4.1).
pub const NO_CODE: u16 = 1005;

/// What one direction says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A whole message, text or binary.
    Data(&'a [u8]),
    /// One above the limit went by unread.
    TooLong,
    /// It says nothing more, for this reason (RFC 6455 7.4; 1005: none was given).
    Close(u16),
}

/// Bounds of reading, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest message that is kept.
    pub message: usize,
    /// The longest that is inflated so that those after it can be, and how much may come out of all
    /// that was sent; past either nothing more is read.
    pub inflated: Inflation,
}

/// One direction of a connection. After a fault everything is ignored: frames have no borders that
/// could be found again.
#[derive(Debug)]
pub struct Messages {
    limits: Limits,
    inflater: Option<Inflater>,
    all: Sum,
    header: [u8; HEADER],
    filled: usize,
    frame: Option<Frame>,
    open: Option<Open>,
    close: [u8; 2],
    fault: Option<Fault>,
}

/// What is left of a frame's payload.
#[derive(Debug)]
struct Frame {
    kind: OpCode,
    is_final: bool,
    mask: [u8; 4],
    // Payload bytes that went by, and those to come.
    done: u64,
    left: u64,
}

/// All compressed messages so far, in bytes.
#[derive(Debug, Default)]
struct Sum {
    deflated: usize,
    inflated: usize,
    // For how long they have come.
    seconds: usize,
}

/// A message whose last frame has not come.
#[derive(Debug)]
struct Open {
    is_compressed: bool,
    buffer: Vec<u8>,
    is_too_long: bool,
    inflated: usize,
}

type Sink<'a> = &'a mut dyn FnMut(Message<'_>);

impl Messages {
    /// Of a direction whose messages may be compressed in this way.
    pub fn new(compression: Option<Compression>, limits: Limits) -> Self {
        Self {
            limits,
            inflater: compression.map(Inflater::new),
            all: Sum::default(),
            header: [0; HEADER],
            filled: 0,
            frame: None,
            open: None,
            close: [0; 2],
            fault: None,
        }
    }

    /// What comes from here on comes when the connection has lasted for so long.
    pub fn at(&mut self, lasted: Duration) {
        self.all.seconds = usize::try_from(lasted.as_secs()).unwrap_or(usize::MAX);
    }

    /// Feeds `bytes` and hands on each message that ends within.
    pub fn push(&mut self, mut bytes: &[u8], sink: Sink<'_>) {
        while self.fault.is_none() && !bytes.is_empty() {
            let read = match self.frame.take() {
                None => self.header(bytes),
                Some(frame) => self.payload(frame, bytes),
            };
            let ended = self.frame.take_if(|frame| frame.left == 0);
            let result = match (read, ended) {
                (Ok(rest), None) => Ok(rest),
                (Ok(rest), Some(frame)) => self.end(&frame, sink).map(|()| rest),
                (Err(fault), _) => Err(fault),
            };
            match result {
                Ok(rest) => bytes = rest,
                Err(fault) => self.stop(fault),
            }
        }
    }

    /// Nobody here knows what frames mean.
    pub fn refuse(&mut self) {
        self.stop(Fault::Unknown);
    }

    /// Bytes are missing from here.
    pub fn tear(&mut self) {
        if self.fault.is_none() {
            self.stop(Fault::Torn);
        }
    }

    /// Why the rest is not read.
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Bytes of its buffers, about.
    pub fn held(&self) -> usize {
        let open = self.open.as_ref().map_or(0, |open| open.buffer.capacity());
        open + self.inflater.as_ref().map_or(0, Inflater::held)
    }

    fn stop(&mut self, fault: Fault) {
        self.fault = Some(fault);
        (self.frame, self.open, self.inflater) = (None, None, None);
    }

    /// Reads a frame's header, or as much of it as there is; gives what follows.
    fn header<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Fault> {
        let had = self.filled;
        let room = self.header.get_mut(had..).unwrap_or_default();
        let count = room.len().min(bytes.len());
        room.iter_mut().zip(bytes).for_each(|(to, byte)| *to = *byte);
        let all = self.header.get(..had + count).unwrap_or_default();
        let mut cursor = Cursor::new(all);
        let parsed = FrameHeader::parse(&mut cursor).map_err(|_| Fault::Broken)?;
        let Some((header, length)) = parsed else {
            self.filled = had + count;
            return Ok(&[]);
        };
        self.filled = 0;
        let taken = (cursor.position() as usize).saturating_sub(had);
        self.frame = Some(self.begin(&header, length)?);
        Ok(bytes.get(taken..).unwrap_or_default())
    }

    /// Whether such a frame may stand here.
    fn begin(&mut self, header: &FrameHeader, length: u64) -> Result<Frame, Fault> {
        if header.rsv2 || header.rsv3 {
            return Err(Fault::Unknown);
        }
        let is_well = match header.opcode {
            OpCode::Control(_) => !header.rsv1 && header.is_final && length <= CONTROL,
            OpCode::Data(Data::Continue) => !header.rsv1 && self.open.is_some(),
            OpCode::Data(_) => self.open.is_none() && (!header.rsv1 || self.inflater.is_some()),
        };
        if !is_well || length > i64::MAX as u64 {
            return Err(Fault::Broken);
        }
        if matches!(header.opcode, OpCode::Data(_)) && self.open.is_none() {
            let buffer = Vec::new();
            let is_compressed = header.rsv1;
            self.open = Some(Open { is_compressed, buffer, is_too_long: false, inflated: 0 });
        }
        let mask = header.mask.unwrap_or_default();
        let (kind, is_final) = (header.opcode, header.is_final);
        Ok(Frame { kind, is_final, mask, done: 0, left: length })
    }

    /// Reads what there is of a frame's payload; gives what follows.
    fn payload<'a>(&mut self, mut frame: Frame, bytes: &'a [u8]) -> Result<&'a [u8], Fault> {
        let most = usize::try_from(frame.left).unwrap_or(usize::MAX).min(bytes.len());
        let (payload, rest) = bytes.split_at_checked(most).unwrap_or((bytes, &[]));
        let done = frame.done;
        frame.done += payload.len() as u64;
        frame.left -= payload.len() as u64;
        let (kind, mut mask) = (frame.kind, frame.mask);
        self.frame = Some(frame);
        match kind {
            OpCode::Control(Control::Close) => {
                let mask = mask.iter().cycle().skip((done % 4) as usize);
                let to = self.close.iter_mut().skip(done as usize);
                to.zip(payload.iter().zip(mask)).for_each(|(to, (byte, key))| *to = byte ^ key);
            }
            OpCode::Control(_) => (),
            OpCode::Data(_) if mask == [0; 4] => self.data(payload)?,
            OpCode::Data(_) => {
                mask.rotate_left((done % 4) as usize);
                let mut plain = [0; 4096];
                for part in payload.chunks(plain.len()) {
                    self.data(unmask(part, mask, &mut plain))?;
                }
            }
        }
        Ok(rest)
    }

    fn data(&mut self, payload: &[u8]) -> Result<(), Fault> {
        let Self { limits, inflater, all, open: Some(open), .. } = self else { return Ok(()) };
        match inflater {
            Some(inflater) if open.is_compressed => {
                all.deflated = all.deflated.saturating_add(payload.len());
                inflater.push(payload, &mut |plain| open.add_inflated(plain, *limits, all))
            }
            _ => {
                open.add(payload, limits.message);
                Ok(())
            }
        }
    }

    /// A frame ended, and perhaps its message with it.
    fn end(&mut self, frame: &Frame, sink: Sink<'_>) -> Result<(), Fault> {
        match frame.kind {
            OpCode::Control(Control::Close) => {
                let code = if frame.done < 2 { NO_CODE } else { u16::from_be_bytes(self.close) };
                sink(Message::Close(code));
            }
            OpCode::Data(_) if frame.is_final => {
                self.data_end()?;
                match self.open.take() {
                    Some(open) if open.is_too_long => sink(Message::TooLong),
                    Some(open) => sink(Message::Data(&open.buffer)),
                    None => (),
                }
            }
            _ => (),
        }
        Ok(())
    }

    /// The end of a compressed message is left out on the wire.
    fn data_end(&mut self) -> Result<(), Fault> {
        match (&mut self.inflater, &mut self.open) {
            (Some(inflater), Some(open)) if open.is_compressed => {
                inflater.end(&mut |plain| open.add_inflated(plain, self.limits, &mut self.all))
            }
            _ => Ok(()),
        }
    }
}

impl Open {
    fn add(&mut self, bytes: &[u8], limit: usize) {
        if self.is_too_long || self.buffer.len() + bytes.len() > limit {
            self.is_too_long = true;
            self.buffer = Vec::new();
        } else {
            self.buffer.extend_from_slice(bytes);
        }
    }

    fn add_inflated(&mut self, bytes: &[u8], limits: Limits, all: &mut Sum) -> Result<(), Fault> {
        self.inflated = self.inflated.saturating_add(bytes.len());
        all.inflated = all.inflated.saturating_add(bytes.len());
        self.add(bytes, limits.message);
        let allowed = limits.inflated.for_each(all.deflated);
        let allowed = allowed.saturating_add(all.seconds.saturating_mul(EACH_SECOND));
        if self.inflated > limits.inflated.most || all.inflated > allowed {
            Err(Fault::TooLarge)
        } else {
            Ok(())
        }
    }
}

/// `part` without its mask, in `plain`; `part` is a multiple of four long, or the last.
fn unmask<'a>(part: &[u8], mask: [u8; 4], plain: &'a mut [u8]) -> &'a [u8] {
    let keys = mask.iter().cycle();
    let pairs = plain.iter_mut().zip(part.iter().zip(keys));
    pairs.for_each(|(to, (byte, key))| *to = byte ^ key);
    plain.get(..part.len()).unwrap_or_default()
}

/// Any bytes, however they are cut, tell the same messages; buffers stay small. The first byte of an
/// input says what was agreed on.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(input: &[u8]) {
    let (&first, bytes) = input.split_first().unwrap_or((&0, &[]));
    let keeps = first & 2 == 0;
    let compression = (first & 1 == 1).then_some(Compression { keeps });
    let limits = Limits { message: 512, inflated: Inflation { most: 4096, ratio: 1 } };
    let told = |size: usize| {
        let (mut messages, mut said) = (Messages::new(compression, limits), Vec::new());
        for chunk in bytes.chunks(size) {
            messages.push(chunk, &mut |message| {
                said.push(format!("{message:?}"));
                let Message::Data(data) = message else { return };
                assert!(data.len() <= limits.message, "a message above the limit");
            });
            assert!(messages.held() <= 1024 + (48 << 10), "{} bytes held", messages.held());
        }
        (said, messages.fault())
    };
    let whole = told(usize::MAX);
    for size in [1, 2, 7, 64] {
        let cut = told(size);
        // How far an inflater gets before it sees that bytes are broken depends on how they come.
        let is_broken = cut.1.is_some() && whole.1.is_some();
        assert!(cut == whole || is_broken, "in chunks of {size}: {cut:?} instead of {whole:?}");
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, FlushCompress};

    use super::*;
    use crate::observe::decode::chunking;

    const LIMITS: Limits = Limits { message: 64, inflated: Inflation { most: 1024, ratio: 1 } };
    const KEPT: Option<Compression> = Some(Compression { keeps: true });

    /// A frame: its first byte, its mask, its payload.
    fn frame(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        let masked = if mask.is_some() { 0x80 } else { 0 };
        match payload.len() {
            short @ 0..126 => bytes.push(masked | short as u8),
            length @ 126..65536 => {
                bytes.push(masked | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            length => {
                bytes.push(masked | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.extend(mask.unwrap_or_default().iter().filter(|_| mask.is_some()));
        let keys = mask.unwrap_or_default();
        bytes.extend(payload.iter().zip(keys.iter().cycle()).map(|(byte, key)| byte ^ key));
        bytes
    }

    fn deflated(compress: &mut Compress, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len() + 100);
        compress.compress_vec(text, &mut out, FlushCompress::Sync).unwrap();
        assert!(out.ends_with(&[0, 0, 0xff, 0xff]));
        out.truncate(out.len() - 4);
        out
    }

    fn told<'a>(
        compression: Option<Compression>,
        chunks: impl IntoIterator<Item = &'a [u8]>,
    ) -> (Vec<String>, Option<Fault>) {
        let (mut messages, mut said) = (Messages::new(compression, LIMITS), Vec::new());
        for chunk in chunks {
            messages.push(chunk, &mut |message| {
                said.push(match message {
                    Message::Data(data) => String::from_utf8_lossy(data).into_owned(),
                    Message::TooLong => "too long".to_owned(),
                    Message::Close(code) => code.to_string(),
                });
            });
        }
        (said, messages.fault())
    }

    /// Fragments, control frames between them, masks, each form of length.
    fn talk() -> Vec<u8> {
        let mask = Some([1, 2, 3, 250]);
        [
            frame(0x81, mask, b"whole"),
            frame(0x01, mask, b"in "),
            frame(0x89, mask, b"ping"),
            frame(0x00, None, b"three "),
            frame(0x8a, None, b""),
            frame(0x80, mask, b"parts"),
            frame(0x82, None, &[b'b'; 64]),
            frame(0x81, mask, &[b'x'; 300]),
            frame(0x81, mask, &[b'x'; 70_000]),
            frame(0x81, None, b""),
            frame(0x88, mask, b"\x03\xf3going"),
        ]
        .concat()
    }

    #[test]
    fn messages_are_joined_of_their_frames_however_they_are_cut() {
        let (talk, long) = (talk(), "b".repeat(64));
        let expected = ["whole", "in three parts", &long, "too long", "too long", "", "1011"]
            .map(str::to_owned);
        assert_eq!(told(None, [&talk[..]]), (expected.to_vec(), None));
        for cut in 1..500 {
            assert_eq!(told(None, [&talk[..cut], &talk[cut..]]).0, expected, "{cut}");
        }
        assert_eq!(told(None, talk.chunks(1)).0, expected);
        for seed in 0..20 {
            assert_eq!(told(None, chunking(seed, &talk)).0, expected, "{seed}");
        }
    }

    /// What is said compressed, the third message far above the limit.
    fn compressed(keeps: bool) -> Vec<u8> {
        let mut compress = Compress::new(flate2::Compression::best(), false);
        let mut talk = Vec::new();
        for text in ["once more once more", "once more", &"once more ".repeat(50), "once more"] {
            let payload = deflated(&mut compress, text.as_bytes());
            let (one, two) = payload.split_at(payload.len() / 2);
            talk.extend(frame(0x41, Some([9, 8, 7, 6]), one));
            talk.extend(frame(0x80, None, two));
            if !keeps {
                compress.reset();
            }
        }
        [talk, frame(0x81, None, b"plain")].concat()
    }

    #[test]
    fn compressed_messages_are_inflated_and_one_above_the_limit_costs_no_other() {
        let expected = ["once more once more", "once more", "too long", "once more", "plain"];
        for keeps in [true, false] {
            let talk = compressed(keeps);
            let agreed = Some(Compression { keeps });
            assert_eq!(told(agreed, [&talk[..]]), (expected.map(str::to_owned).to_vec(), None));
            for cut in 1..talk.len() {
                assert_eq!(told(agreed, [&talk[..cut], &talk[cut..]]).0, expected, "{cut}");
            }
            assert_eq!(told(agreed, talk.chunks(1)).0, expected);
        }
    }

    #[test]
    fn a_last_block_within_the_stream_ends_a_message_and_not_the_reading() {
        let mut encoder =
            flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, b"final").unwrap();
        let payload = [encoder.finish().unwrap(), vec![0]].concat();
        let talk = [frame(0xc1, None, &payload), frame(0xc1, None, &payload)].concat();
        assert_eq!(told(KEPT, [&talk[..]]), (vec!["final".to_owned(); 2], None));
    }

    #[test]
    fn what_no_frame_can_be_stops_the_reading() {
        let good = frame(0x81, None, b"good");
        let bomb = deflated(&mut Compress::new(flate2::Compression::best(), false), &[0; 4096]);
        for (bad, compression, fault) in [
            (frame(0x83, None, b""), None, Fault::Broken),
            (frame(0x80, None, b"continues nothing"), None, Fault::Broken),
            (frame(0x09, None, b"half a ping"), None, Fault::Broken),
            (frame(0x89, None, &[0; 126]), None, Fault::Broken),
            (frame(0xc1, None, b"x"), None, Fault::Broken),
            (frame(0xc9, None, b"x"), KEPT, Fault::Broken),
            (frame(0xa1, None, b"x"), KEPT, Fault::Unknown),
            (frame(0xc1, None, b"\xff\xff\xff"), KEPT, Fault::Broken),
            (frame(0xc1, None, &bomb), KEPT, Fault::TooLarge),
            (b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(), None, Fault::Broken),
            ([frame(0x01, None, b"a"), frame(0x81, None, b"b")].concat(), None, Fault::Broken),
        ] {
            let talk = [&good[..], &bad, &good].concat();
            let expected = (vec!["good".to_owned()], Some(fault));
            assert_eq!(told(compression, [&talk[..]]), expected, "{bad:?}");
        }
    }

    #[test]
    fn many_short_messages_may_not_become_many_long_ones() {
        let long = vec![b'x'; 512 << 10];
        let mut state = Compress::new(flate2::Compression::fast(), false);
        let message = frame(0xc1, None, &deflated(&mut state, &long));
        let read = |ratio: usize| {
            let inflated = Inflation { most: 8 << 20, ratio };
            let limits = Limits { message: 1 << 20, inflated };
            let mut messages = Messages::new(Some(Compression { keeps: false }), limits);
            let mut whole = 0;
            for _ in 0..8 {
                messages.push(&message, &mut |message| {
                    whole += usize::from(message == Message::Data(&long));
                });
            }
            (whole, messages.fault())
        };
        assert_eq!(read(2000), (8, None));
        assert_eq!(read(1), (2, Some(Fault::TooLarge)), "a MiB, and no more");
    }

    #[test]
    fn a_muted_microphone_is_read_for_as_long_as_it_says_nothing() {
        let silence = "A".repeat(24_000 * 2 / 10 / 3 * 4);
        let said = format!(r#"{{"type":"input_audio_buffer.append","audio":"{silence}"}}"#);
        let inflated = Inflation { most: 32 << 20, ratio: 200 };
        let limits = Limits { message: 8 << 20, inflated };
        let read = |faster: u64| {
            let mut compress = Compress::new(flate2::Compression::default(), false);
            let (mut messages, mut whole) = (Messages::new(KEPT, limits), 0);
            for tenth in 0..3000 {
                messages.at(Duration::from_millis(tenth * 100 / faster));
                let message = frame(0xc1, None, &deflated(&mut compress, said.as_bytes()));
                messages.push(&message, &mut |_| whole += 1);
            }
            (whole, messages.fault())
        };
        assert_eq!(read(1), (3000, None));
        assert_eq!(read(100).1, Some(Fault::TooLarge), "not said in real time");
    }

    #[test]
    fn after_a_tear_nothing_is_read() {
        let mut messages = Messages::new(KEPT, LIMITS);
        let mut count = 0;
        let good = frame(0x81, None, b"good");
        messages.push(&good, &mut |_| count += 1);
        messages.push(&good[..3], &mut |_| count += 1);
        messages.tear();
        messages.push(&good, &mut |_| count += 1);
        assert_eq!((count, messages.fault(), messages.held()), (1, Some(Fault::Torn), 0));
    }

    #[test]
    fn an_idle_connection_holds_nothing_but_its_inflater() {
        let mut messages = Messages::new(Some(Compression { keeps: false }), LIMITS);
        messages.push(&compressed(false), &mut |_| ());
        assert_eq!(messages.held(), 0);
        let mut messages = Messages::new(KEPT, LIMITS);
        messages.push(&talk(), &mut |_| ());
        assert_eq!(messages.held(), 0, "nothing was compressed");
        let mut messages = Messages::new(KEPT, LIMITS);
        messages.push(&compressed(true), &mut |_| ());
        assert!((32 << 10..48 << 10).contains(&messages.held()));
    }

    #[test]
    fn exercise_fuzz() {
        for (first, talk) in [(0, talk()), (1, compressed(true)), (3, compressed(false))] {
            for end in [talk.len() / 3, talk.len().min(2000)] {
                fuzz(&[&[first], &talk[..end]].concat());
            }
        }
    }
}
