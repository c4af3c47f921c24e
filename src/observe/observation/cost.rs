//! What one call costs, part by part, and what that rests on. Computes nothing but a sum.

/// What one call cost, in integer nano-USD (10⁻⁹ USD).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// What the provider says, else the sum of the parts.
    pub total: NanoUsd,
    /// Where the provider says it: the sum of the parts, if there is one.
    pub computed: Option<NanoUsd>,
    /// One line per priced part of the usage.
    pub parts: Vec<CostPart>,
    /// The price entry: `openai/gpt-4o-mini`, or the name of an override. Empty: only the provider's
    /// own total is known.
    pub entry: String,
    /// The day from which the entry's prices hold, or on which the table was made (`2026-11-04`).
    pub dated: String,
    /// How sure it is.
    pub basis: CostBasis,
    /// What the sum leaves out, which then is a lower bound: parts that have no price of their own or
    /// were not told apart, by `CostPart`'s names; `residency`, `other_models`, `citation`, `output_video`.
    pub unpriced: Vec<&'static str>,
}

impl Cost {
    /// Only what the provider says.
    pub fn reported(total: NanoUsd) -> Self {
        Self {
            total,
            computed: None,
            parts: Vec::new(),
            entry: String::new(),
            dated: String::new(),
            basis: CostBasis::Reported,
            unpriced: Vec::new(),
        }
    }
}

/// One priced part: `count` at `price` for each `per` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CostPart {
    /// What was counted: `input` and `output` (what is left of them once the others are taken out),
    /// kinds of tokens (`cache_read`, `input_audio`, …), what is billed beside tokens (`web_search`,
    /// `page`, …), `hour` of one's own compute. The names of `observe::price`'s dimensions.
    pub dimension: &'static str,
    /// How many; of times, nanoseconds.
    pub count: u64,
    /// The price of `per` of them.
    pub price: NanoUsd,
    /// For how many the price is: a million tokens, a thousand searches, an hour's nanoseconds.
    pub per: u64,
    /// `count × price ÷ per`, rounded half up.
    pub amount: NanoUsd,
}

/// An amount of money in nano-USD.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NanoUsd(pub u64);

impl NanoUsd {
    /// In USD, for telemetry's double fields.
    pub fn usd(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

/// How a cost was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CostBasis {
    /// The answer carried it.
    Reported,
    /// Reported usage × known prices, every part priced.
    Computed,
    /// As computed, but some part of the usage has no price: at least this much.
    LowerBound,
    /// Estimated usage × known prices.
    Estimated,
}

impl CostBasis {
    /// The name in `clearspan.cost.basis`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Computed => "computed",
            Self::LowerBound => "lower_bound",
            Self::Estimated => "estimated",
        }
    }
}
