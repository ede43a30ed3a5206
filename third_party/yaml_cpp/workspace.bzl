"""yaml-cpp: yaml-cpp/yaml.h."""

load("//third_party/debian:installed_package.bzl", "installed_package")

def repository():
    """Declares @yaml_cpp//:yaml-cpp unless the workspace has its own."""
    if native.existing_rule("yaml_cpp") != None:
        return
    installed_package(
        name = "yaml_cpp",
        headers = ["yaml-cpp"],
        linkopts = ["-lyaml-cpp"],
        package = "libyaml-cpp-dev",
        target = "yaml-cpp",
    )
