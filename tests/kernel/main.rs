//! The kernel tests: the real programs, real sockets, a mesh's redirect and a real Envoy. Root is needed; a test that is
//! not run says so loudly, and under CI it fails.

mod agent_asked;
mod agent_attacks;
mod agent_boot;
mod agent_change;
mod agent_containers;
mod agent_crowded;
mod agent_dns;
mod agent_hearsay;
mod agent_hold;
mod agent_life;
mod agent_metrics;
mod agent_pins;
mod agent_proxies;
mod agent_ready;
mod agent_resolvers;
mod agent_roots;
mod agent_seed;
mod agent_short;
mod agent_unknown;
mod agent_world;
mod bad_input;
mod bugreport;
mod check;
mod death;
mod exempt;
mod hold;
mod lab;
mod lacking;
mod leftovers;
mod modes;
mod neighbours;
mod patience;
mod run;
mod world;
