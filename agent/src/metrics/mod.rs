//! Metrics: every one is declared once (docs/metrics.md is made of that list), and what this process counts is counted where it happens.

pub mod declared;
pub mod recorded;

pub use self::recorded::Recorded;
