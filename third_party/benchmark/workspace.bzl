"""Benchmark 1.7.1."""

load("//third_party/debian:debian_source.bzl", "debian_source")

def repository():
    """Declares @com_github_google_benchmark unless the workspace has its own."""
    if native.existing_rule("com_github_google_benchmark") != None:
        return
    debian_source(
        name = "com_github_google_benchmark",
        index = "@debian_bookworm_sources//:sources.list",
        package = "benchmark",
        sha256 = "6430e4092653380d9dc4ccb45a1e2dc9259d581f4866dc0759713126056bc1d7",
        strip_prefix = "benchmark-1.7.1",
        tarball = "benchmark_1.7.1.orig.tar.gz",
    )
