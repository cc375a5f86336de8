"""Follows nixpkgs' sitecustomize.py: where builds install packages, which Debian's Python puts to `local`."""

import os

if "NIX_BUILD_TOP" in os.environ:
    import sysconfig

    for scheme in ("posix_prefix", "posix_local"):
        if scheme in sysconfig._INSTALL_SCHEMES:
            sysconfig._INSTALL_SCHEMES[scheme].update(
                purelib="{base}/lib/@named@/site-packages",
                platlib="{platbase}/lib/@named@/site-packages",
                scripts="{base}/bin",
                data="{base}",
            )
