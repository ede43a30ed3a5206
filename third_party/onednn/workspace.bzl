"""oneDNN: oneapi/dnnl/dnnl.h, and the OpenMP runtime that Debian builds it with."""

load("//third_party/debian:installed_package.bzl", "installed_package")

def repository():
    """Declares @onednn//:onednn unless the workspace has its own."""
    if native.existing_rule("onednn") != None:
        return
    installed_package(
        name = "onednn",
        headers = ["oneapi/dnnl"],
        linkopts = [
            "-ldnnl",
            "-lgomp",
        ],
        package = "libdnnl-dev",
        target = "onednn",
    )
