"""libwebp: webp/decode.h."""

load("//third_party/debian:installed_package.bzl", "installed_package")

def repository():
    """Declares @libwebp//:libwebp unless the workspace has its own."""
    if native.existing_rule("libwebp") != None:
        return
    installed_package(
        name = "libwebp",
        headers = [
            "webp/decode.h",
            "webp/types.h",
        ],
        linkopts = ["-lwebp"],
        package = "libwebp-dev",
        target = "libwebp",
    )
