//! What is kept of an answer beside the facts, until its end: texts, should their tokens have to be
//! counted, and the usage as it came, where the operator wants it. Knows no dialect.

use super::Settings;
use super::estimate::Texts;
use super::observation::{Operation, Usage};
use super::shapes::raw::RawUsage;

/// What is kept of one exchange.
#[derive(Debug)]
pub struct Kept {
    /// Where a call of this kind can be estimated.
    pub texts: Option<Box<Texts>>,
    raw: Option<Box<RawUsage>>,
}

/// What an event, or the whole answer, came to.
#[derive(Clone, Copy, Debug)]
pub struct Came {
    /// It carried generated content.
    pub says: bool,
    /// Some of that is no text: sound, pictures.
    pub more_than_text: bool,
    /// The usage known before it.
    pub before: Option<Usage>,
    /// The usage known since.
    pub since: Option<Usage>,
}

impl Kept {
    /// Nothing yet, of a call of this kind.
    pub fn new(operation: Option<Operation>, settings: &Settings) -> Self {
        let limit = settings.estimate_bytes;
        let estimated = operation.is_some_and(Texts::can_tell) && limit > 0;
        Self {
            texts: estimated.then(|| Box::new(Texts::new(limit))),
            raw: settings.raw_usage.then(Box::default),
        }
    }

    /// The request's body, which was read whole or not.
    pub fn ask(&mut self, body: &[u8], whole: bool) {
        if let Some(texts) = &mut self.texts {
            texts.ask(body, whole);
        }
    }

    /// An event of the answer, or all of it. What was said is passed over where what came with it says
    /// how much it was.
    pub fn answer(&mut self, json: &[u8], came: Came) {
        let counts = came.since.is_some_and(|usage| usage.output > Some(0));
        let tells = counts && came.since != came.before;
        if let Some(texts) = self.texts.as_mut().filter(|_| came.says && !tells) {
            texts.answer(json);
        }
        if let Some(texts) = self.texts.as_mut().filter(|_| came.more_than_text) {
            texts.answers_more();
        }
        if let Some(raw) = &mut self.raw {
            raw.see(json);
        }
    }

    /// The usage as it came, in JSON.
    pub fn raw_usage(&self) -> Option<Box<str>> {
        self.raw.as_ref()?.told().map(String::into_boxed_str)
    }

    /// Bytes of its buffers, about.
    pub fn held(&self) -> usize {
        let texts = self.texts.as_ref().map_or(0, |texts| texts.held());
        texts + self.raw.as_ref().map_or(0, |raw| raw.held())
    }
}
