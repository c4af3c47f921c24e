//! What a person types: one file per subcommand.

/// `clearspan prices`.
pub mod prices;
