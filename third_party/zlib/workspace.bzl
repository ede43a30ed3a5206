"""zlib: zlib.h."""

load("//third_party/debian:installed_package.bzl", "installed_package")

def repository():
    """Declares @zlib//:zlib unless the workspace has its own."""
    if native.existing_rule("zlib") != None:
        return
    installed_package(
        name = "zlib",
        headers = [
            "zconf.h",
            "zlib.h",
        ],
        linkopts = ["-lz"],
        package = "zlib1g-dev",
        target = "zlib",
    )
