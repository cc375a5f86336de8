# The systems that Debian packages can be of: Debian's folder of libraries, and the loader of programs in it.
{
  x86_64-linux = {
    triplet = "x86_64-linux-gnu";
    loader = "ld-linux-x86-64.so.2";
  };
  aarch64-linux = {
    triplet = "aarch64-linux-gnu";
    loader = "ld-linux-aarch64.so.1";
  };
}
