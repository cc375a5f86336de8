# Whether a setting of the kernel (`boot.kernel.sysctl`) is one that each container has for itself.
{ lib }:
name:
lib.any (prefix: lib.hasPrefix prefix name) [
  "net."
  "kernel.msg"
  "kernel.sem"
  "kernel.shm"
  "fs.mqueue."
]
