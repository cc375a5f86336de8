# The driver's shell, as a program.
{ build, bash }:
build.write "backdoor" {
  executable = true;
  text =
    "#!${bash}\n"
    + import ../../../driver-shell.nix {
      inherit bash;
      profile = "/etc/profile.d/test-environment.sh";
    };
}
