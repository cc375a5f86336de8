//! Properties of units, as `systemctl show` prints them.

use std::collections::BTreeMap;

/// Returns the values of lines such as `Id=web.service`, by their names.
pub(super) fn properties(output: &str) -> BTreeMap<String, String> {
    output
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_may_hold_equal_signs() {
        let parsed = properties("Id=a.service\nEnvironment=A=1 B=2\n\n");
        assert_eq!(parsed["Environment"], "A=1 B=2");
    }
}
