"""The protobuf 3.21.12 runtime, built from source, with the installed protoc."""

load("//third_party/debian:debian_source.bzl", "debian_source")

def repository():
    """Declares @com_google_protobuf unless the workspace has its own."""
    if native.existing_rule("com_google_protobuf") != None:
        return
    debian_source(
        name = "com_google_protobuf",
        build_file = Label("//third_party/protobuf:protobuf.BUILD"),
        files = {
            Label("//third_party/protobuf:cc_proto_library.bzl"): "bazel/cc_proto_library.bzl",
            Label("//third_party/protobuf:proto_library.bzl"): "bazel/proto_library.bzl",
            Label("//third_party/protobuf:package.BUILD"): "bazel/BUILD",
        },
        index = "@debian_bookworm_sources//:sources.list",
        package = "protobuf",
        program_hint = "run: apt-get install -y --no-install-recommends protobuf-compiler",
        programs = {"bin/protoc": "protoc"},
        sha256 = "930c2c3b5ecc6c9c12615cf5ad93f1cd6e12d0aba862b572e076259970ac3a53",
        strip_prefix = "protobuf-3.21.12",
        tarball = "protobuf_3.21.12.orig.tar.gz",
    )
