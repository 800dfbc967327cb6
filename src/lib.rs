//! Tierup gives any interpreter a JIT.
//!
//! Interpreter threads ask a bead for native code on every call; per-thread counters feed a background broker; hot
//! functions are lowered once to Cranelift IR and compiled on a worker; code is swapped by one atomic pointer. This crate is
//! what an embedder depends on: it re-exports [`tierup_broker`] and [`tierup_backends`] and adds nothing of its own.
//!
//! Where to begin: `Broker::builder` makes the broker, `Broker::register` a bead for each guest function,
//! `Broker::register_thread` the handle an interpreter thread calls `on_invoke` on. `Lower` is the one trait an embedder
//! implements, `CraneliftBackend` makes a tier of it, and [`abi`] carries calls between interpreter and native code.
//! `examples/tiny.rs` is all of it in one file.

pub use tierup_backends::*;
pub use tierup_broker::*;
