//! Rebuilds the program when the Nix library that it carries changes.

#[expect(clippy::disallowed_macros, reason = "this is Cargo reads it")]
fn main() {
    println!("cargo:rerun-if-changed=nix-lib");
    println!("cargo:rerun-if-changed=src/language/api/snowglobe");
}
