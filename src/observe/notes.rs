//! What could not be read or kept, each said once. Knows no bytes.

use super::decode::encoding::Fault;
use super::observation::Note;

/// Each note once.
#[derive(Debug, Default)]
pub struct Notes(Vec<Note>);

impl Notes {
    /// Adds `note`, if it is not there yet.
    pub fn add(&mut self, note: Note) {
        if !self.0.contains(&note) {
            self.0.push(note);
        }
    }

    /// Adds what a content encoding's fault is noted as.
    pub fn fault(&mut self, fault: Option<Fault>) {
        match fault {
            Some(Fault::Unknown) => self.add(Note::EncodingUnknown),
            Some(Fault::Broken | Fault::Short) => self.add(Note::EncodingBroken),
            Some(Fault::TooLarge) => self.add(Note::EncodingTooLarge),
            // The tear has its own note.
            Some(Fault::Torn) | None => (),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `note` is there.
    pub fn has(&self, note: Note) -> bool {
        self.0.contains(&note)
    }

    /// All, in the order in which they came.
    pub fn into_vec(self) -> Vec<Note> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_note_is_listed_at_its_place() {
        assert!(Note::ALL.iter().enumerate().all(|(place, note)| *note as usize == place));
        assert_eq!(Note::ALL.len(), Note::BeginningUnseen as usize + 1, "the last one is");
    }
}
