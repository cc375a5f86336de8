//! The test language: Python, run by RustPython, over the machines of a test.

mod engine;
mod failure;
mod host;
mod interrupt;
mod values;

pub use engine::{Ended, Engine, Script};
pub use failure::SyntaxProblem;
pub use host::{Folders, Host};
pub use interrupt::Interrupter;

/// Checks the syntax of a script; needs no interpreter.
///
/// # Errors
/// The first problem.
pub fn check_syntax(source: &str) -> Result<(), SyntaxProblem> {
    failure::check_syntax(source)
}

#[cfg(test)]
mod tests {
    /// The methods and properties of machines, as the prelude defines them.
    fn methods() -> Vec<&'static str> {
        let prelude = include_str!("prelude.py");
        let begin = prelude.find("class Machine:").unwrap();
        let end = prelude.find("class VLan:").unwrap();
        prelude[begin..end]
            .lines()
            .filter_map(|line| line.strip_prefix("    def ")?.split('(').next())
            .filter(|name| !name.starts_with('_'))
            .collect()
    }

    #[test]
    fn the_manual_tells_of_every_method() {
        let manual = include_str!("../../docs/src/script.md");
        assert!(methods().len() > 30);
        for name in methods() {
            let told = [format!("`{name}("), format!("`{name}`")];
            assert!(
                told.iter().any(|form| manual.contains(form)),
                "{name} is missing"
            );
        }
    }
}
