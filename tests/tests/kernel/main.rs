//! The kernel tests: the real programs, real sockets, a mesh's redirect and a real Envoy. Root is needed; a test that is
//! not run says so loudly, and under CI it fails.

mod bad_input;
mod death;
mod exempt;
mod hold;
mod lab;
mod modes;
mod neighbours;
mod patience;
mod run;
mod world;
