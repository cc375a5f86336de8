//! Variables that nixpkgs' drivers read.

use std::env;

use super::error::CompatError;

/// The items of a variable, between spaces; none if it is not set.
pub(super) fn items(variable: &str) -> Vec<String> {
    let text = env::var(variable).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// The virtual networks.
pub(super) fn vlans() -> Result<Vec<u32>, CompatError> {
    let mut vlans: Vec<u32> = Vec::new();
    for variable in ["vlans", "VLANS"] {
        for item in items(variable) {
            let vlan = number(variable, &item)?;
            // nixpkgs 20.09 names one for each network card.
            if !vlans.contains(&vlan) {
                vlans.push(vlan);
            }
        }
    }
    Ok(vlans)
}

fn number(variable: &str, text: &str) -> Result<u32, CompatError> {
    text.parse().map_err(|_| CompatError::NoNumber {
        variable: variable.to_owned(),
        text: text.to_owned(),
    })
}
