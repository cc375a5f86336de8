//! The test API as data, what is generated from it (stub, manual), and the check of scripts.

pub mod check;
mod manual;
mod stub;
mod vocabulary;

pub use manual::manual;
pub use stub::stub;
pub use vocabulary::{
    Availability, Class, Function, Parameter, ParameterKind, Property, Vocabulary,
};

/// A file of the test API.
#[derive(Debug, Clone, Copy)]
pub struct ApiModule {
    pub name: &'static str,
    pub source: &'static str,
}

/// The Python of the test API, in the order in which it is executed: what scripts can
/// say is what is defined here, and its signatures are the table.
pub const API: [ApiModule; 6] = [
    ApiModule {
        name: "snowglobe_engine",
        source: include_str!("api/engine.py"),
    },
    ApiModule {
        name: "snowglobe_base",
        source: include_str!("api/base.py"),
    },
    ApiModule {
        name: "snowglobe_record",
        source: include_str!("api/record.py"),
    },
    ApiModule {
        name: "snowglobe_efi",
        source: include_str!("api/efi.py"),
    },
    ApiModule {
        name: "snowglobe_machine",
        source: include_str!("api/machine.py"),
    },
    ApiModule {
        name: "snowglobe_run",
        source: include_str!("api/run.py"),
    },
];

/// API modules that replace machines by ones that only write calls down.
pub const MOCK_API: [ApiModule; 1] = [ApiModule {
    name: "snowglobe_mock",
    source: include_str!("api/mock.py"),
}];
