//! The test API as data, what is generated from it (stub, manual), and the check of scripts.

mod api_reader;
pub mod check;
mod manual;
mod stub;
mod vocabulary;

pub use manual::manual;
pub use stub::stub;
pub use vocabulary::{
    Availability, Class, Function, Parameter, ParameterKind, Property, Vocabulary,
};

/// A module of the test API.
#[derive(Debug, Clone, Copy)]
pub struct ApiModule {
    pub name: &'static str,
    pub source: &'static str,
}

/// The Python package of the test API, `snowglobe`: its `__init__` imports what scripts can name, and the
/// signatures are those of its modules.
pub const API: [ApiModule; 21] = [
    ApiModule {
        name: "__init__",
        source: include_str!("api/snowglobe/__init__.py"),
    },
    ApiModule {
        name: "assertions",
        source: include_str!("api/snowglobe/assertions.py"),
    },
    ApiModule {
        name: "background",
        source: include_str!("api/snowglobe/background.py"),
    },
    ApiModule {
        name: "calls",
        source: include_str!("api/snowglobe/calls.py"),
    },
    ApiModule {
        name: "driver",
        source: include_str!("api/snowglobe/driver.py"),
    },
    ApiModule {
        name: "durations",
        source: include_str!("api/snowglobe/durations.py"),
    },
    ApiModule {
        name: "efi",
        source: include_str!("api/snowglobe/efi.py"),
    },
    ApiModule {
        name: "errors",
        source: include_str!("api/snowglobe/errors.py"),
    },
    ApiModule {
        name: "extensions",
        source: include_str!("api/snowglobe/extensions.py"),
    },
    ApiModule {
        name: "files",
        source: include_str!("api/snowglobe/files.py"),
    },
    ApiModule {
        name: "keys",
        source: include_str!("api/snowglobe/keys.py"),
    },
    ApiModule {
        name: "log",
        source: include_str!("api/snowglobe/log.py"),
    },
    ApiModule {
        name: "machine",
        source: include_str!("api/snowglobe/machine.py"),
    },
    ApiModule {
        name: "mock",
        source: include_str!("api/snowglobe/mock.py"),
    },
    ApiModule {
        name: "qemu",
        source: include_str!("api/snowglobe/qemu.py"),
    },
    ApiModule {
        name: "recording",
        source: include_str!("api/snowglobe/recording.py"),
    },
    ApiModule {
        name: "runtime",
        source: include_str!("api/snowglobe/runtime.py"),
    },
    ApiModule {
        name: "script",
        source: include_str!("api/snowglobe/script.py"),
    },
    ApiModule {
        name: "side_by_side",
        source: include_str!("api/snowglobe/side_by_side.py"),
    },
    ApiModule {
        name: "subtests",
        source: include_str!("api/snowglobe/subtests.py"),
    },
    ApiModule {
        name: "waiting",
        source: include_str!("api/snowglobe/waiting.py"),
    },
];

/// The module of the package that replaces machines by ones that only write calls down.
pub const MOCK_MODULE: &str = "snowglobe.mock";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn all_modules_are_listed() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/language/api/snowglobe");
        let files: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|end| end == "py"))
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        let listed = API.iter().map(|module| module.name.to_owned());
        assert_eq!(files, listed.collect());
    }
}
