"""GoogleTest 1.12.1."""

load("//third_party/debian:debian_source.bzl", "debian_source")

def repository():
    """Declares @com_google_googletest unless the workspace has its own."""
    if native.existing_rule("com_google_googletest") != None:
        return
    debian_source(
        name = "com_google_googletest",
        index = "@debian_bookworm_sources//:sources.list",
        package = "googletest",
        sha256 = "81964fe578e9bd7c94dfdb09c8e4d6e6759e19967e397dbea48d1c10e45d0df2",
        strip_prefix = "googletest-release-1.12.1",
        tarball = "googletest_1.12.1.orig.tar.gz",
    )
