# Imported by two modules of modules.nix.
{ list = [ "once" ]; }
