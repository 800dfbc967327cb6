//! One rule each: small functions as text, entered with the frame they would have, run by Cranelift's interpreter.

mod errors;
mod frames;
mod loops;
mod run;
mod shared;
