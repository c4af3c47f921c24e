//! Whether a reported usage can be right. It is reported all the same, with a note. Knows no dialect.

use super::observation::{Operation, RequestFacts, ResponseFacts, Usage};

/// More chunks than this with at most one token of output are suspicious.
const CHUNKS: u64 = 5;

/// What cannot be right:
///
/// | | |
/// |---|---|
/// | many chunks of content, and at most one token of output | 806 deltas and 1 token were seen in the wild |
/// | no token of input, though something was asked with | a gateway that lost the count |
/// | a total that is not the sum of its parts | `total_tokens` of OpenAI's format, `totalTokenCount` of Gemini's |
/// | more cached, written or reasoned than there is | parts of the input, or of the output |
pub fn is_odd(
    usage: &Usage,
    operation: Option<Operation>,
    request: &RequestFacts,
    response: &ResponseFacts,
) -> bool {
    let few = usage.output.is_some_and(|output| output <= 1);
    let prompted = request.messages.is_some_and(|messages| messages > 0);
    let none = usage.input == Some(0) && prompted && is_told_in_tokens(operation);
    let within = |part: Option<u64>, whole: Option<u64>| whole.is_none() || part <= whole;
    let cached = match (usage.cache_read, usage.cache_write) {
        (None, None) => None,
        (read, write) => Some(read.unwrap_or(0).saturating_add(write.unwrap_or(0))),
    };
    (few && response.chunks > CHUNKS)
        || none
        || usage.is_uneven
        || !within(cached, usage.input)
        || !within(usage.reasoning, usage.output)
}

/// Rankings, pictures and sound may be counted otherwise.
fn is_told_in_tokens(operation: Option<Operation>) -> bool {
    use Operation::{Chat, Embeddings, GenerateContent, TextCompletion};
    matches!(operation, Some(Chat | Embeddings | GenerateContent | TextCompletion))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usual() -> Usage {
        Usage { input: Some(9), output: Some(7), ..Usage::default() }
    }

    fn odd(usage: Usage, operation: Operation, chunks: u64) -> bool {
        let request = RequestFacts { messages: Some(1), ..RequestFacts::default() };
        let response = ResponseFacts { chunks, ..ResponseFacts::default() };
        is_odd(&usage, Some(operation), &request, &response)
    }

    #[test]
    fn what_cannot_be_right_is_odd() {
        assert!(!odd(usual(), Operation::Chat, 100));
        for usage in [
            Usage { output: Some(1), ..usual() },
            Usage { input: Some(0), ..usual() },
            Usage { is_uneven: true, ..usual() },
            Usage { cache_read: Some(10), ..usual() },
            Usage { cache_read: Some(5), cache_write: Some(5), ..usual() },
            Usage { reasoning: Some(8), ..usual() },
        ] {
            assert!(odd(usage, Operation::Chat, 6), "{usage:?}");
        }
    }

    #[test]
    fn what_may_be_right_is_not() {
        for (usage, operation, chunks) in [
            (Usage { output: Some(1), ..usual() }, Operation::Chat, 5),
            (Usage { output: None, ..usual() }, Operation::Embeddings, 0),
            (Usage { input: Some(0), ..usual() }, Operation::Rerank, 0),
            (Usage { input: None, cache_read: Some(1), ..usual() }, Operation::Chat, 0),
            (Usage { cache_read: Some(5), cache_write: Some(4), ..usual() }, Operation::Chat, 0),
            (Usage { reasoning: Some(7), ..usual() }, Operation::Chat, 0),
        ] {
            assert!(!odd(usage, operation, chunks), "{usage:?}");
        }
        let nothing = RequestFacts::default();
        let zero = Usage { input: Some(0), ..usual() };
        let response = ResponseFacts::default();
        assert!(!is_odd(&zero, Some(Operation::Chat), &nothing, &response), "nothing was asked");
    }
}
