"""SentencePiece 0.1.97, what encodes and decodes: sentencepiece_processor.h.

Built from source: Debian's shared library has an older protobuf inside and exports it, so that a
program with a protobuf of its own would run one's functions on the other's messages.
"""

load("//third_party/debian:debian_source.bzl", "debian_source")

def repository():
    """Declares @sentencepiece//:sentencepiece unless the workspace has its own."""
    if native.existing_rule("sentencepiece") != None:
        return
    debian_source(
        name = "sentencepiece",
        build_file = Label("//third_party/sentencepiece:sentencepiece.BUILD"),
        files = {
            Label("//third_party/sentencepiece:config.h"): "config.h",
        },
        index = "@debian_bookworm_sources//:sources.list",
        package = "sentencepiece",
        patches = [Label("//third_party/sentencepiece:warnings_only.patch")],
        sha256 = "56430381f45dc6debfd2e0cbde4f039f9499c49ca825af184b0cbf318c17a18f",
        strip_prefix = "sentencepiece-0.1.97",
        tarball = "sentencepiece_0.1.97.orig.tar.gz",
    )
