"""The lists of Debian source packages that third_party draws from."""

load(":debian_source.bzl", "debian_source_index")

def debian_source_indexes():
    """Declares @debian_<suite>_sources for each release in use. Fetched only when a tarball is."""
    for suite in ["bookworm", "trixie"]:
        name = "debian_%s_sources" % suite
        if native.existing_rule(name) == None:
            debian_source_index(name = name, suite = suite)
