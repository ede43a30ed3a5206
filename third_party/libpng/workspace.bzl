"""libpng: png.h."""

load("//third_party/debian:installed_package.bzl", "installed_package")

def repository():
    """Declares @libpng//:libpng unless the workspace has its own."""
    if native.existing_rule("libpng") != None:
        return
    installed_package(
        name = "libpng",
        headers = [
            "png.h",
            "pngconf.h",
            "pnglibconf.h",
        ],
        linkopts = ["-lpng16"],
        package = "libpng-dev",
        target = "libpng",
    )
