//! What the question caused, taken out of an answer's events as they come. Pure: bytes in, bytes
//! out; an event is held back from its first byte to its blank line. Knows no time and no socket.

use memchr::memchr2;

use super::event::{Caused, caused};

/// Takes out what the question caused.
#[derive(Debug)]
pub struct Unsplice {
    // The longest event that is held back.
    limit: usize,
    // The event that has begun.
    held: Vec<u8>,
    state: State,
    // The current line has no byte yet.
    line_is_empty: bool,
    // The last byte ended a line by a carriage return, to which a line feed may belong.
    after_return: Option<Fate>,
    taken_out: u64,
    too_long: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before an event: blank lines and comments go on as they come.
    Between,
    Comment,
    /// In an event that is held back.
    Held,
    /// In an event that is too long to be held back.
    Passing,
}

/// What became of the bytes before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Passed,
    Held,
    TakenOut,
}

impl Unsplice {
    /// Of events that are at most `limit` bytes long.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            held: Vec::new(),
            state: State::Between,
            line_is_empty: true,
            after_return: None,
            taken_out: 0,
            too_long: false,
        }
    }

    /// Appends to `out` what may go on of what came before and `chunk`.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        let mut rest = chunk;
        while !rest.is_empty() {
            rest = self.step(rest, out);
        }
    }

    /// The answer ended, or broke off: what is held goes out.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.held);
        self.state = State::Passing;
    }

    /// Gives the memory back: the event that has begun is held back no longer, and goes on untouched.
    pub fn let_go(&mut self, out: &mut Vec<u8>) {
        out.append(&mut std::mem::take(&mut self.held));
        if self.state == State::Held {
            self.too_long = true;
            self.after_return = self.after_return.map(|_| Fate::Passed);
            self.state = State::Passing;
        }
    }

    /// Bytes of memory that hold the event that has begun.
    pub fn held(&self) -> usize {
        self.held.capacity()
    }

    /// Bytes that were taken out so far.
    pub fn taken_out(&self) -> u64 {
        self.taken_out
    }

    /// Whether an event was too long, and went on untouched.
    pub fn was_too_long(&self) -> bool {
        self.too_long
    }

    /// Reads on to the next border between lines or events, and gives back what is behind it.
    fn step<'a>(&mut self, rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        if let (Some(fate), Some(after)) = (self.after_return.take(), rest.strip_prefix(b"\n")) {
            match fate {
                Fate::Passed => out.push(b'\n'),
                Fate::Held => self.held.push(b'\n'),
                Fate::TakenOut => self.taken_out += 1,
            }
            return after;
        }
        match self.state {
            State::Between => self.begin(rest, out),
            State::Held => self.hold(rest, out),
            State::Comment | State::Passing => self.pass(rest, out),
        }
    }

    /// At the beginning of a line that belongs to no event yet.
    fn begin<'a>(&mut self, rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        self.line_is_empty = true;
        match rest.first() {
            Some(b'\n' | b'\r') => return self.pass(rest, out),
            Some(b':') => self.state = State::Comment,
            _ => self.state = State::Held,
        }
        rest
    }

    /// Sends on one line, or what there is of it.
    fn pass<'a>(&mut self, rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        let (line, after) = line(rest);
        out.extend_from_slice(line);
        let blank = self.end_line(line, Fate::Passed);
        if blank.is_some_and(|blank| blank || self.state == State::Comment) {
            self.state = State::Between;
        }
        after
    }

    /// Holds one line back, or what there is of it; the blank line ends the event.
    fn hold<'a>(&mut self, rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        let (line, after) = line(rest);
        if self.held.len() + line.len() > self.limit {
            self.let_go(out);
            return rest;
        }
        self.held.extend_from_slice(line);
        if self.end_line(line, Fate::Held) == Some(true) {
            self.release(out);
        }
        after
    }

    /// A whole event goes on, without what the question caused.
    fn release(&mut self, out: &mut Vec<u8>) {
        let event = self.held.as_slice();
        let mut fate = Fate::Passed;
        let before = out.len();
        match caused(event) {
            Caused::Nothing => out.extend_from_slice(event),
            Caused::Event => fate = Fate::TakenOut,
            Caused::Member(range) => {
                out.extend_from_slice(event.get(..range.start).unwrap_or_default());
                out.extend_from_slice(event.get(range.end..).unwrap_or_default());
            }
        }
        self.taken_out += (event.len() - (out.len() - before)) as u64;
        self.after_return = self.after_return.map(|_| fate);
        self.held.clear();
        self.state = State::Between;
    }

    /// Notes how `line` ends; whether it was blank, once it has ended.
    fn end_line(&mut self, line: &[u8], fate: Fate) -> Option<bool> {
        let Some(end @ (b'\n' | b'\r')) = line.last() else {
            self.line_is_empty &= line.is_empty();
            return None;
        };
        self.after_return = (*end == b'\r').then_some(fate);
        let blank = self.line_is_empty && line.len() == 1;
        self.line_is_empty = true;
        Some(blank)
    }
}

/// The first line with one byte of its end, or all that there is of it; and what follows.
fn line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr2(b'\n', b'\r', bytes).map_or(bytes.len(), |at| at + 1);
    bytes.split_at(end.min(bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 64 << 10;

    /// What goes on when the answer comes cut at these places.
    fn through(bytes: &[u8], cuts: &[usize]) -> (Vec<u8>, Unsplice) {
        let (mut unsplice, mut out, mut from) = (Unsplice::new(LIMIT), Vec::new(), 0);
        for &cut in cuts.iter().chain([&bytes.len()]) {
            unsplice.push(&bytes[from..cut], &mut out);
            from = cut;
        }
        unsplice.finish(&mut out);
        assert_eq!(bytes.len() - out.len(), unsplice.taken_out() as usize);
        (out, unsplice)
    }

    /// At every place, twice at every place of short ones, and after each byte.
    fn however_cut(bytes: &[u8], expected: &[u8]) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let check = |cuts: &[usize]| {
            let (out, _) = through(bytes, cuts);
            assert_eq!(text(&out), text(expected), "cut at {cuts:?}");
        };
        check(&[]);
        check(&(1..bytes.len()).collect::<Vec<_>>());
        for cut in 0..=bytes.len() {
            check(&[cut]);
            if bytes.len() < 300 {
                (cut..=bytes.len()).for_each(|later| check(&[cut, later]));
            }
        }
    }

    /// An answer as OpenAI sends it, unasked and asked.
    fn answer(end: &str) -> (String, String) {
        let chunk = |usage: &str| {
            format!(
                "data: {{\"choices\":[{{\"delta\":{{\"content\":\"ü\"}}}}]{usage},\"obfuscation\":\"x\"}}{end}{end}"
            )
        };
        let usage = format!("data: {{\"choices\":[],\"usage\":{{\"prompt_tokens\":9}}}}{end}{end}");
        let done = format!("data: [DONE]{end}{end}");
        let comment = format!(": ping{end}{end}");
        let plain = [&chunk(""), &comment, &chunk(""), &done].map(String::as_str).concat();
        let null = chunk(",\"usage\":null");
        let asked = [&null, &comment, &null, &usage, &done].map(String::as_str).concat();
        (plain, asked)
    }

    #[test]
    fn what_the_question_caused_is_taken_out_however_it_is_cut() {
        for end in ["\n", "\r\n", "\r"] {
            let (plain, asked) = answer(end);
            however_cut(asked.as_bytes(), plain.as_bytes());
            however_cut(plain.as_bytes(), plain.as_bytes());
        }
    }

    #[test]
    fn mixed_line_ends_blank_lines_and_comments_stay_as_they_are() {
        let usage = "data:{\"choices\":[],\"usage\":{}}";
        for (with, without) in [
            (format!("\r\n\n\r: a\r{usage}\n\r\n: b\n\n"), "\r\n\n\r: a\r: b\n\n"),
            (format!("{usage}\r\n\rdata: x\n\n"), "data: x\n\n"),
            (format!("{usage}\r\r\n\ndata: x\n\n"), "\ndata: x\n\n"),
            (format!("id: 1\n{usage}\n\n{usage}\r\n\r\n"), ""),
        ] {
            however_cut(with.as_bytes(), without.as_bytes());
        }
    }

    #[test]
    fn an_event_is_out_with_the_last_byte_of_its_blank_line() {
        for end in ["\n", "\r\n", "\r"] {
            let event = format!("data: {{\"choices\":[]}}{end}{end}");
            let (mut unsplice, mut out) = (Unsplice::new(LIMIT), Vec::new());
            let first = event.trim_end().len() + end.len();
            unsplice.push(&event.as_bytes()[..first], &mut out);
            assert_eq!(out, b"");
            assert!(unsplice.held() >= first);
            unsplice.push(&event.as_bytes()[first..], &mut out);
            assert_eq!(out, event.as_bytes());
        }
        // A comment is no event: a sign of life is not held back.
        let (mut unsplice, mut out) = (Unsplice::new(LIMIT), Vec::new());
        unsplice.push(b": OPENROUTER PRO", &mut out);
        assert_eq!(out, b": OPENROUTER PRO");
    }

    #[test]
    fn what_is_held_at_the_end_goes_out() {
        let usage = b"data: {\"choices\":[],\"usage\":{}}\n";
        however_cut(usage, usage);
        let (out, unsplice) = through(b"data: x", &[]);
        assert_eq!((out.as_slice(), unsplice.taken_out()), (&b"data: x"[..], 0));
    }

    #[test]
    fn an_event_above_the_limit_passes_and_the_next_is_read_again() {
        let event = |length: usize| {
            let frame = "data: {\"choices\":[],\"usage\":null,\"a\":\"\"}\n\n";
            let fill = "x".repeat(length - frame.len());
            frame.replace("\"a\":\"\"", &format!("\"a\":\"{fill}\""))
        };
        let small = event(100).replace("\"usage\":null,", "");
        for (length, passes) in [(LIMIT, false), (LIMIT + 1, true), (3 * LIMIT, true)] {
            let long = event(length);
            let without = long.replace("\"usage\":null,", "");
            let expected = [if passes { &long } else { &without }, small.as_str()].concat();
            for end in ["\n", "\r\n"] {
                let bytes = [long.as_str(), &event(100)].concat();
                let (bytes, expected) = (bytes.replace('\n', end), expected.replace('\n', end));
                if end.len() > 1 && length == LIMIT {
                    continue;
                }
                for cuts in [&[][..], &[1], &[LIMIT - 1], &[LIMIT], &[50, LIMIT - 3, LIMIT - 2]] {
                    let (out, unsplice) = through(bytes.as_bytes(), cuts);
                    assert!(out == expected.as_bytes(), "{length} {cuts:?}");
                    assert_eq!(unsplice.was_too_long(), passes);
                    assert!(unsplice.held() <= 2 * LIMIT);
                }
            }
        }
    }

    #[test]
    fn an_event_that_is_let_go_stays_whole() {
        let (_, asked) = answer("\r\n");
        let event = &asked[..asked.find("\r\n\r\n").unwrap() + 4];
        for cut in 1..event.len() {
            let (mut unsplice, mut out) = (Unsplice::new(LIMIT), Vec::new());
            unsplice.push(&event.as_bytes()[..cut], &mut out);
            unsplice.let_go(&mut out);
            assert_eq!(unsplice.held(), 0);
            unsplice.push(&event.as_bytes()[cut..], &mut out);
            unsplice.push(event.as_bytes(), &mut out);
            let held = cut < event.len() - 1;
            let first = if held { event.to_owned() } else { event.replace(",\"usage\":null", "") };
            let expected = first + &event.replace(",\"usage\":null", "");
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{cut}");
        }
    }

    #[test]
    fn whatever_holds_no_question_comes_out_as_it_went_in() {
        let mut random = fastrand::Rng::with_seed(11);
        let pieces: [&[u8]; 14] = [
            b"data: ",
            b"data:",
            b"\n",
            b"\r\n",
            b"\r",
            b"\n\n",
            b": c",
            b"event: e",
            b"[DONE]",
            b"{\"choices\":[{}],\"usage\":{}}",
            b"{\"usage\":null}",
            b"\"usage\":null",
            b"\xff",
            b"{\"choices\":[{\"a\":\"\\\"usage\\\":null\"}]}",
        ];
        for _ in 0..20_000 {
            let count = random.usize(0..12);
            let bytes: Vec<u8> =
                (0..count).flat_map(|_| *random.choice(&pieces).unwrap()).copied().collect();
            let mut cuts: Vec<_> =
                (0..random.usize(0..4)).map(|_| random.usize(0..=bytes.len())).collect();
            cuts.sort_unstable();
            let (out, _) = through(&bytes, &cuts);
            assert_eq!(out, bytes, "{cuts:?}");
        }
    }
}
