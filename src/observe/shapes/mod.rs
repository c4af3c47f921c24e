//! What several dialects have in common: how they write JSON, errors, counts and paths. Knows no
//! dialect.

/// Reads JSON in place, whatever the types turn out to be.
pub mod lenient;
/// What is not quite JSON, mended.
pub mod mend;
/// Errors, and the bounded word they become.
pub mod failure;
/// What gRPC's codes are called in a sentence.
pub mod grpc;
/// Token counts, and the one nesting they become.
pub mod tokens;
/// What several calls used together.
pub mod batch;
/// A usage object as it came.
pub mod raw;
/// What stands beside the tokens: money, times, what is billed otherwise.
pub mod extras;
/// Amounts of money as providers write them, read exactly.
pub mod money;
/// Which path is which call.
pub mod route;
