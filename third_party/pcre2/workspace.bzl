"""PCRE2: pcre2.h, for text in bytes."""

load("//third_party/debian:installed_package.bzl", "installed_package")

def repository():
    """Declares @pcre2//:pcre2 unless the workspace has its own."""
    if native.existing_rule("pcre2") != None:
        return
    installed_package(
        name = "pcre2",
        headers = ["pcre2.h"],
        linkopts = ["-lpcre2-8"],
        package = "libpcre2-dev",
        target = "pcre2",
    )
