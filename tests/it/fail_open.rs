//! fail_open
