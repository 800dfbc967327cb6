//! A control plane for a broker: whoever may open a local socket sees its events live, asks why a function is where it is, and
//! acts on it, while the program runs.
//!
//! An embedder attaches a [`Service`] to its broker; [`Client`] is the other end. What goes over the socket is JSON, one line
//! each: see [`protocol`] and `README.md`. A [`Feed`] is the part that needs no socket: events, and awaiting a tier, for programs
//! that are asynchronous themselves.
//!
//! ```
//! use tierup_broker::{BeadSpec, Broker};
//! use tierup_service::{Client, Service, protocol::BeadKey};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let broker = Broker::<&str>::builder().describe(|name| name.to_string()).build()?;
//! let bead = broker.register("step", BeadSpec { size: 12 })?;
//! # let path = std::env::temp_dir().join(format!("tierup-service-doc-{}", std::process::id()));
//! // On a thread of its own, until it is dropped.
//! let service = Service::builder(&broker).serve(path)?;
//!
//! let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! runtime.block_on(async {
//!     let mut client = Client::connect(service.path()).await?;
//!     let (record, missing) = client.why(BeadKey::named("step")).await?;
//!     assert_eq!((record.tier, record.size), (0, 12));
//!     println!("missing: {missing}");
//!     Ok(())
//! })
//! # }
//! ```
//!
//! The broker knows nothing of all this and never waits for it: a slow client misses events, and is told how many.
#![forbid(unsafe_code)]

mod client;
mod core;
mod error;
mod feed;
mod inspect;
mod lines;
pub mod protocol;
mod server;
mod service;
mod session;
mod socket;
mod standing;

pub use client::{Client, Events, Streamed};
pub use error::{ClientError, ServeError, WaitError};
pub use feed::Feed;
pub use service::{Builder, Service};
