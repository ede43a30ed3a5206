"""utf8proc: Unicode normalization, utf8proc.h."""

load("//third_party/debian:installed_package.bzl", "installed_package")

def repository():
    """Declares @utf8proc//:utf8proc unless the workspace has its own."""
    if native.existing_rule("utf8proc") != None:
        return
    installed_package(
        name = "utf8proc",
        headers = ["utf8proc.h"],
        linkopts = ["-lutf8proc"],
        package = "libutf8proc-dev",
        target = "utf8proc",
    )
