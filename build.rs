//! Rebuilds the program when the Nix library that it carries changes.

fn main() {
    println!("cargo:rerun-if-changed=nix-lib");
}
