# The program, from nixpkgs.
{
  lib,
  rustPlatform,
  installShellFiles,
  libffi,
}:
rustPlatform.buildRustPackage {
  pname = "snowglobe";
  inherit ((lib.importTOML ./Cargo.toml).package) version;

  src = lib.fileset.toSource {
    root = ./.;
    fileset = lib.fileset.unions [
      ./Cargo.toml
      ./Cargo.lock
      ./src
      ./nix-lib
    ];
  };
  cargoLock.lockFile = ./Cargo.lock;
  # The profile of Cargo.toml for packages.
  buildType = "dist";
  # A dependency declares a newer Rust than it needs (see the Makefile).
  cargoBuildFlags = [ "--ignore-rust-version" ];

  # They start machines, and need Nix and Debian's packages for that.
  doCheck = false;

  nativeBuildInputs = [ installShellFiles ];
  # Of the interpreter's ctypes.
  buildInputs = [ libffi ];
  postInstall = ''
    installShellCompletion --cmd snowglobe \
      --bash <($out/bin/snowglobe completions bash) \
      --fish <($out/bin/snowglobe completions fish) \
      --zsh <($out/bin/snowglobe completions zsh)
  '';

  meta = {
    description = "Runs NixOS integration tests";
    license = lib.licenses.mit;
    mainProgram = "snowglobe";
    platforms = lib.platforms.linux;
  };
}
