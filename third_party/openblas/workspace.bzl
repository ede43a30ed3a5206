"""OpenBLAS: cblas.h."""

load("//third_party/debian:installed_package.bzl", "installed_package")

def repository():
    """Declares @openblas//:openblas unless the workspace has its own."""
    if native.existing_rule("openblas") != None:
        return
    installed_package(
        name = "openblas",
        headers = [
            "openblas-pthread/cblas.h",
            "openblas-pthread/openblas_config.h",
        ],
        linkopts = ["-lopenblas"],
        package = "libopenblas-pthread-dev",
        strip_prefix = "openblas-pthread/",
        target = "openblas",
    )
