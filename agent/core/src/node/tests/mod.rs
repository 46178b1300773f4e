//! Tests of the node: single rules, and a model in virtual time.

mod classifying;
mod dns;
mod early;
mod kit;
mod life;
mod model;
mod opening;
mod world;
