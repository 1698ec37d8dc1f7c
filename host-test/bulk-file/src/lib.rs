//! The files of `memberspot bulk`: tables and JSON lines, read as a whole and checked row by row before anything is sent.
//!
//! Nothing here knows the component, or an engine: what there is of operations, and of which types their fields are, is
//! passed in. So any bytes can be read against any operations, which is what the fuzzer of it does.

pub mod mistakes;
pub mod operations;
pub mod reading;
pub mod text;
