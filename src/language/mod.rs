//! The test language without running it: its words as one table, what is made from the table, and the check.

pub mod check;
mod manual;
mod stub;
mod vocabulary;

pub use manual::manual;
pub use stub::stub;
pub use vocabulary::{Class, Function, Kind, Origin, Parameter, Property, Vocabulary};

/// A file of words.
#[derive(Debug, Clone, Copy)]
pub struct Words {
    pub name: &'static str,
    pub source: &'static str,
}

/// The words' Python, in the order in which it is executed: what scripts can
/// say is what is defined here, and its signatures are the table.
pub const WORDS: [Words; 6] = [
    Words {
        name: "snowglobe_engine",
        source: include_str!("words/engine.py"),
    },
    Words {
        name: "snowglobe_base",
        source: include_str!("words/base.py"),
    },
    Words {
        name: "snowglobe_record",
        source: include_str!("words/record.py"),
    },
    Words {
        name: "snowglobe_efi",
        source: include_str!("words/efi.py"),
    },
    Words {
        name: "snowglobe_machine",
        source: include_str!("words/machine.py"),
    },
    Words {
        name: "snowglobe_run",
        source: include_str!("words/run.py"),
    },
];

/// Words that replace machines by ones that only write down what is asked of them.
pub const MOCK_WORDS: [Words; 1] = [Words {
    name: "snowglobe_mock",
    source: include_str!("words/mock.py"),
}];
