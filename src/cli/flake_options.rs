//! The options of `nix build` and `nix flake check` on the inputs of a flake.

use clap::Args;

use crate::nix_cli::NO_UPDATE;

#[derive(Debug, Args)]
pub struct FlakeOptions {
    /// Take another flake as an input of FLAKE: `nixpkgs`, or `utils/systems` for the input of an input.
    #[arg(long, num_args = 2, value_names = ["INPUT", "FLAKE"], help_heading = FLAKES)]
    override_input: Vec<String>,
    /// Take the inputs of FLAKE that are names from the inputs of this flake.
    #[arg(long, value_name = "FLAKE", help_heading = FLAKES)]
    inputs_from: Option<String>,
    /// Read this lock file in the place of flake.lock (Nix 2.17 or newer).
    #[arg(long, value_name = "FILE", help_heading = FLAKES)]
    reference_lock_file: Option<String>,
    /// Fail if flake.lock would have to change.
    #[arg(long, help_heading = FLAKES)]
    no_update_lock_file: bool,
    /// Look up no names of flakes in registries.
    #[arg(long, help_heading = FLAKES)]
    no_registries: bool,
    /// Accepted for compatibility: flake.lock is never written.
    #[arg(long, help_heading = FLAKES)]
    no_write_lock_file: bool,
}

const FLAKES: &str = "Flakes";

impl FlakeOptions {
    /// Returns them as options of Nix.
    pub fn wishes(&self) -> Vec<String> {
        let mut wishes = Vec::new();
        for pair in self.override_input.chunks_exact(2) {
            wishes.extend([
                "--override-input".to_owned(),
                pair[0].clone(),
                pair[1].clone(),
            ]);
        }
        for (option, value) in [
            ("--inputs-from", &self.inputs_from),
            ("--reference-lock-file", &self.reference_lock_file),
        ] {
            wishes.extend(
                value
                    .iter()
                    .flat_map(|value| [option.to_owned(), value.clone()]),
            );
        }
        for (option, is_given) in [
            (NO_UPDATE, self.no_update_lock_file),
            ("--no-registries", self.no_registries),
        ] {
            wishes.extend(is_given.then(|| option.to_owned()));
        }
        wishes
    }
}
