# Which of Debian's packages a package of nixpkgs is made of, by its pname.
#
# An entry is a list of Debian's packages, or a set as `link` in packages.nix
# takes it (`debs`, `fix`, `program`, `content`, `isFile`, `environment`), or a
# function from the arguments of the derivation to one of these. What has no
# entry and is called as Debian calls it needs none. --packages-table FILE adds
# a file like one of these: a function from `arguments`.
arguments:
builtins.foldl' (entries: file: entries // import file arguments) { } [
  ./table/builds.nix
  ./table/interpreters.nix
  ./table/system.nix
  ./table/services.nix
  ./table/data.nix
]
