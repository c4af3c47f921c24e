//! What the name of a service tier means for the price. Knows no prices.

/// Tiers that cost what the table says without naming a tier.
const BASE: [&str; 5] = ["default", "standard", "auto", "on_demand", ""];
/// Tiers of capacity that was bought beforehand: a call of theirs costs nothing of its own. So is
/// Anthropic's `priority`, which elsewhere is a dearer price.
/// <https://platform.claude.com/docs/en/api/service-tiers>
const COMMITTED: [&str; 4] = ["scale", "provisioned_throughput", "provisioned", "ptu"];
/// Vertex AI's names of tiers, and the table's.
const OTHER_NAMES: [(&str, &str); 2] =
    [("on_demand_flex", "flex"), ("on_demand_priority", "priority")];

/// The tier that answered, as far as the price goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tier<'a> {
    /// The one without a name.
    Base,
    /// One that may have a price of its own.
    Own(&'a str),
    /// Bought beforehand.
    Committed,
}

impl<'a> Tier<'a> {
    /// Of a name in lower case.
    pub(super) fn of(name: Option<&'a str>) -> Self {
        match name {
            None => Self::Base,
            Some(name) if BASE.contains(&name) => Self::Base,
            Some(name) if COMMITTED.contains(&name) => Self::Committed,
            Some(name) => {
                let other = OTHER_NAMES.iter().find(|(theirs, _)| *theirs == name);
                Self::Own(other.map_or(name, |(_, ours)| ours))
            }
        }
    }
}
