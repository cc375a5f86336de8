//! The tool as its users meet it: real evaluations, builds and machines, and
//! exactly what is printed.

mod bad_input;
mod checkpoints;
mod checks;
mod confinement;
mod containers;
mod displays;
mod docs;
mod driver;
mod evaluations;
mod events;
mod filters;
mod flakes;
mod guests;
mod harness;
mod interactive;
mod interrupts;
mod language;
mod layers;
mod machines;
mod many;
mod mistakes;
mod mock;
mod nix_lib;
mod nixos;
mod operations;
mod packages;
mod report;
mod results;
mod runs;
mod scripts;
mod selection;
mod shared_code;
mod terminals;
mod trust;
mod watch;
