"""Toolchain lookup from where rules_cc keeps it."""

load("@bazel_tools//tools/cpp:toolchain_utils.bzl", "find_cpp_toolchain")

CC_TOOLCHAIN_TYPE = "@bazel_tools//tools/cpp:toolchain_type"

find_cc_toolchain = find_cpp_toolchain

def use_cc_toolchain(mandatory = True):
    return [CC_TOOLCHAIN_TYPE]
