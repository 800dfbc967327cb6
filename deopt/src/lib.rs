//! Leaving compiled code where an assumption failed: what is needed to carry on in the interpreter as if nothing had happened,
//! and what to do about the code.
//!
//! `README.md` in this folder has the protocol and the frame-state format. The two halves:
//!
//! - *in a lowering*: a [`FrameState`] says what the interpreter's frames hold; [`ExitTableBuilder::add`] numbers the exit and
//!   says which values it must [store](store_word); [`guard`] branches to it;
//! - *in a driver*: [`Exit::rebuild`] reads the frames back out of the stored words.
//!
//! [`policy`] has the recovery policies. Which code calls whom when an exit is taken is the machine-code ABI's affair
//! (`backends/ABI.md`), and so is who finds the [`ExitTable`].

#![forbid(unsafe_code)]

mod builder;
mod frame_state;
mod guard;
pub mod policy;
mod reason;
mod store;
mod table;

pub use builder::{ExitTableBuilder, NewExit};
pub use frame_state::{FrameState, StateFrame};
pub use guard::guard;
pub use reason::ExitReason;
pub use store::store_word;
pub use table::{Exit, ExitTable, FrameLayout, RebuiltFrame};
