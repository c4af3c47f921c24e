//! own_answers
