//! What gRPC's status codes are called in a sentence, as servers in Rust write them where a code belongs (xAI's
//! `code`). Knows no document.
//!
//! Source: tonic, `tonic/src/status.rs`, `Code::description`; the names are those of Google's `google.rpc.Code`.

const SENTENCES: [(&str, &str); 16] = [
    ("The operation was cancelled", "cancelled"),
    ("Unknown error", "unknown"),
    ("Client specified an invalid argument", "invalid_argument"),
    ("Deadline expired before operation could complete", "deadline_exceeded"),
    ("Some requested entity was not found", "not_found"),
    ("Some entity that we attempted to create already exists", "already_exists"),
    ("The caller does not have permission to execute the specified operation", "permission_denied"),
    ("Some resource has been exhausted", "resource_exhausted"),
    ("The system is not in a state required for the operation's execution", "failed_precondition"),
    ("The operation was aborted", "aborted"),
    ("Operation was attempted past the valid range", "out_of_range"),
    ("Operation is not implemented or not supported", "unimplemented"),
    ("Internal error", "internal"),
    ("The service is currently unavailable", "unavailable"),
    ("Unrecoverable data loss or corruption", "data_loss"),
    ("The request does not have valid authentication credentials", "unauthenticated"),
];

/// The code that a sentence stands for.
pub fn code(sentence: &str) -> Option<&'static str> {
    SENTENCES.iter().find(|(known, _)| *known == sentence).map(|(_, code)| *code)
}
