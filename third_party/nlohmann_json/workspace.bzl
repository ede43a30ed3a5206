"""JSON for Modern C++: nlohmann/json.hpp."""

load("//third_party/debian:installed_package.bzl", "installed_package")

def repository():
    """Declares @nlohmann_json//:json unless the workspace has its own."""
    if native.existing_rule("nlohmann_json") != None:
        return
    installed_package(
        name = "nlohmann_json",
        headers = ["nlohmann"],
        package = "nlohmann-json3-dev",
        target = "json",
    )
