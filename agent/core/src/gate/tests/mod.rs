//! The gates: their rules, one a test, and any history against a naive reference.

mod asking;
mod kit;
mod life;
mod model;
mod reference;
mod rules;
