"""Gloo: messages between processes over TCP, gloo/transport/tcp/device.h and what it includes."""

load("//third_party/debian:installed_package.bzl", "installed_package")

def repository():
    """Declares @gloo//:gloo unless the workspace has its own."""
    if native.existing_rule("gloo") != None:
        return
    installed_package(
        name = "gloo",
        headers = ["gloo"],
        linkopts = ["-lgloo"],
        package = "libgloo-dev",
        target = "gloo",
    )
