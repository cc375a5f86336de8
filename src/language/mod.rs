//! The test API as data, what is generated from it (stub, manual), the check of scripts, and help for writing them.

mod api_reader;
pub mod assist;
pub mod check;
mod manual;
mod stub;
mod vocabulary;

use include_dir::{Dir, include_dir};

pub use manual::manual;
pub use stub::stub;
pub use vocabulary::{
    Availability, Class, Function, Parameter, ParameterKind, Property, Vocabulary,
};

/// The Python package of the test API, `snowglobe`: its `__init__` imports what scripts can name, and the
/// signatures are those of its modules.
pub(crate) static API: Dir<'static> =
    include_dir!("$CARGO_MANIFEST_DIR/src/language/api/snowglobe");

/// The module of the package that replaces machines by ones that only write calls down.
pub const MOCK_MODULE: &str = "snowglobe.mock";
