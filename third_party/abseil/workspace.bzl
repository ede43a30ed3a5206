"""Abseil 20240722, the long-term release that Debian 13 has."""

load("//third_party/debian:debian_source.bzl", "debian_source")

def repository():
    """Declares @com_google_absl unless the workspace has its own."""
    if native.existing_rule("com_google_absl") != None:
        return
    debian_source(
        name = "com_google_absl",
        index = "@debian_trixie_sources//:sources.list",
        package = "abseil",
        patches = [Label("//third_party/abseil:cve_2025_0838.patch")],
        sha256 = "df6d1f5ef540725f3851201176a60486aab332410788465c9877910bb471c34a",
        strip_prefix = "abseil-20240722.0",
        tarball = "abseil_20240722.0.orig.tar.gz",
    )
