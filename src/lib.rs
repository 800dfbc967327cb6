//! Tierup gives any interpreter a JIT.
//!
//! Interpreter threads call `InterpThread::on_invoke`; per-thread counters feed a background broker; hot functions
//! are lowered once to Cranelift IR and compiled on a worker; code is swapped by one atomic store. This crate is what
//! an embedder depends on: it re-exports the broker and the backends and adds nothing of its own.
