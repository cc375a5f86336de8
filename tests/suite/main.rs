//! The tool as its users meet it: real evaluations, builds and machines, and
//! exactly what is printed.

mod bad_input;
mod harness;
mod interrupts;
mod runs;
