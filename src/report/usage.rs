//! What one call used and cost, as attributes of its span or record. Knows no encoding.

use super::protobuf::Attributes;
use super::{names, outcome, tokens, units};
use crate::observe::observation::{
    Cost, Estimate, Known, NanoUsd, Observation, StreamUsage, Usage,
};
use crate::tape::Upstream;

/// Usage and cost of one call, and how they were found.
pub(super) fn and_cost(attributes: &mut Attributes<'_>, observation: &Observation) {
    let stream_usage = observation.stream_usage.map(StreamUsage::as_str);
    attributes.some_text(names::STREAM_USAGE, stream_usage);
    match &observation.usage {
        Known::Value(usage) => tokens(attributes, usage),
        Known::Unknown(reason) => attributes.text(names::USAGE_MISSING, reason),
    }
    if let Some(of) = &observation.estimate {
        estimate(attributes, of);
    }
    attributes.some_text(names::USAGE_RAW, observation.response.raw_usage.as_deref());
    match &observation.cost {
        Known::Value(cost) => price(attributes, cost, observation),
        Known::Unknown(reason) => attributes.text(names::COST_UNPRICED, reason),
    }
}

/// What told its usage though nobody knows which call it was: that, and whose model it was.
pub(super) fn of_unknown(
    attributes: &mut Attributes<'_>,
    observation: &Observation,
    upstream: &Upstream,
) {
    let Known::Value(usage) = &observation.usage else { return };
    attributes.text(names::PROVIDER, &upstream.provider);
    attributes.some_text(names::REQUEST_MODEL, observation.request.model.as_deref());
    attributes.some_text(names::RESPONSE_MODEL, observation.response.model.as_deref());
    tokens(attributes, usage);
}

fn tokens(attributes: &mut Attributes<'_>, usage: &Usage) {
    for (kind, count) in tokens::counts(usage) {
        attributes.some_int(kind.attribute, Some(count));
    }
    units::used(attributes, &usage.units);
}

fn estimate(attributes: &mut Attributes<'_>, of: &Estimate) {
    if of.stands_in {
        tokens(attributes, &of.usage);
    }
    attributes.some_int(names::ESTIMATED_INPUT, of.usage.input);
    attributes.some_int(names::ESTIMATED_OUTPUT, of.usage.output);
    attributes.text(names::ESTIMATED_BY, of.tokenizer);
    attributes.some_flag(names::ESTIMATED_OWN, Some(of.own));
    if of.sampled {
        attributes.flag(names::ESTIMATED_SAMPLED);
    }
}

fn price(attributes: &mut Attributes<'_>, cost: &Cost, of: &Observation) {
    let name = if outcome::is_cost_told(of) { names::USAGE_COST } else { names::COST_ESTIMATED };
    attributes.double(name, cost.total.usd());
    attributes.text(names::COST_BASIS, cost.basis.as_str());
    attributes.some_double(names::COST_COMPUTED, cost.computed.map(NanoUsd::usd));
    for (name, text) in [(names::COST_ENTRY, &cost.entry), (names::COST_DATED, &cost.dated)] {
        attributes.some_text(name, Some(text.as_str()).filter(|text| !text.is_empty()));
    }
    if !cost.unpriced.is_empty() {
        attributes.texts(names::COST_LEFT_OUT, cost.unpriced.iter().copied());
    }
}
