//! A cluster for tests and for trying it: one real Kubernetes node, and where asked for a real Istio.
//!
//! Knows nothing of conngate but how to make an image of it.
//!
//! Invariants:
//! - nothing is left on the machine but what is below target/cluster: the node is a tree of namespaces ([`node`]), and
//!   its cgroups have a name of their own;
//! - every program is built here from pinned sources, or is Debian's;
//! - a cluster that a test starts ends with the test's process, however that ends.

pub mod build;
mod cgroups;
mod components;
mod configuration;
mod control;
pub mod image;
mod inside;
mod keys;
mod kubectl;
mod lifetime;
mod mesh;
pub mod node;
mod place;
pub mod pod;
mod start;

pub use self::{
    build::{
        Binaries, Options, build,
        images::{APP, CONNGATE, PAUSE, PROXY},
    },
    components::NAMES,
    configuration::STATIC_PODS,
    lifetime::{Cluster, State},
    node::{init::NODE, network::NODE_V4},
    place::Place,
};
