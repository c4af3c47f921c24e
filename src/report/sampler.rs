//! Which exchanges get spans: the samplers of OpenTelemetry's specification. Knows no outcome;
//! metrics and log records are never sampled.

use crate::tape::Ids;

/// The bit of trace flags that says "sampled".
const SAMPLED: u8 = 1;

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// A client that sent a `traceparent` decided already.
    pub parent_based: bool,
    /// What holds for everything else.
    pub root: Root,
}

/// A decision that asks no parent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Root {
    /// All.
    On,
    /// None.
    Off,
    /// This part of all traces, from 0 to 1, by the trace's id.
    Ratio(f64),
}

impl Default for Sampler {
    /// `parentbased_always_on`.
    fn default() -> Self {
        Self { parent_based: true, root: Root::On }
    }
}

impl Sampler {
    /// Trace flags of what is reported of an exchange, as the sampler decides them.
    pub(super) fn flags(self, ids: &Ids) -> u8 {
        let sampled = match self.root {
            _ if self.parent_based && ids.parent.is_some() => ids.flags & SAMPLED != 0,
            Root::On => true,
            Root::Off => false,
            Root::Ratio(ratio) => is_within(ratio, &ids.trace),
        };
        ids.flags & !SAMPLED | u8::from(sampled)
    }
}

/// Whether flags say "sampled".
pub(super) fn is_sampled(flags: u8) -> bool {
    flags & SAMPLED != 0
}

/// As the SDKs decide: the lower eight bytes of the id, against the ratio of what they can be.
fn is_within(ratio: f64, trace: &[u8; 16]) -> bool {
    let lower = u128::from_be_bytes(*trace) as u64;
    ratio >= 1.0 || lower >> 1 < (ratio * (1u64 << 63) as f64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(parent: Option<[u8; 8]>, flags: u8, trace: u128) -> Ids {
        let trace = trace.to_be_bytes();
        Ids { trace, parent, server_span: [1; 8], client_span: [2; 8], flags }
    }

    fn sampled(sampler: Sampler, ids: &Ids) -> bool {
        is_sampled(sampler.flags(ids))
    }

    #[test]
    fn a_parent_decides_only_where_it_is_asked() {
        let (root, yes, no) = (ids(None, 1, 1), ids(Some([9; 8]), 1, 1), ids(Some([9; 8]), 0, 1));
        let of = |parent_based, root| Sampler { parent_based, root };
        for (sampler, expected) in [
            (Sampler::default(), [true, true, false]),
            (of(true, Root::Off), [false, true, false]),
            (of(false, Root::On), [true, true, true]),
            (of(false, Root::Off), [false, false, false]),
        ] {
            assert_eq!(
                [&root, &yes, &no].map(|ids| sampled(sampler, ids)),
                expected,
                "{sampler:?}"
            );
        }
    }

    #[test]
    fn a_ratio_takes_its_part_of_traces_and_always_the_same() {
        let of = |ratio| Sampler { parent_based: false, root: Root::Ratio(ratio) };
        let step = u64::MAX / 1000;
        let part = |ratio| {
            let traces = (0..1000).map(|at| u128::from(at * step) | 7 << 64);
            traces.filter(|&trace| sampled(of(ratio), &ids(None, 1, trace))).count()
        };
        assert_eq!([0.0, 0.25, 1.0].map(part), [0, 251, 1000]);
        assert!((499..=501).contains(&part(0.5)));
    }

    #[test]
    fn flags_say_what_was_decided_and_keep_the_rest() {
        let off = Sampler { parent_based: false, root: Root::Off };
        assert_eq!(off.flags(&ids(None, 3, 1)), 2);
        let on = Sampler { parent_based: false, root: Root::On };
        assert_eq!(on.flags(&ids(Some([9; 8]), 2, 1)), 3);
    }
}
