"""Highway: hwy/highway.h."""

load("//third_party/debian:installed_package.bzl", "installed_package")

def repository():
    """Declares @com_google_highway//:hwy unless the workspace has its own."""
    if native.existing_rule("com_google_highway") != None:
        return
    installed_package(
        name = "com_google_highway",
        headers = ["hwy"],
        linkopts = ["-lhwy"],
        package = "libhwy-dev",
        target = "hwy",
    )
