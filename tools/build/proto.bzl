"""The rules for messages, apart from the others: a package that loads this file needs protobuf.

A proto grid/config/grid.proto is imported as "hetero/grid/config/grid.proto" and its code included
as "hetero/grid/config/grid.pb.h", here and in any workspace that uses this one.
"""

load("@com_google_protobuf//bazel:cc_proto_library.bzl", "cc_proto_library")
load("@com_google_protobuf//bazel:proto_library.bzl", "proto_library")

def hetero_proto_library(name, **kwargs):
    proto_library(
        name = name,
        import_prefix = "hetero",
        **kwargs
    )

def hetero_cc_proto_library(name, **kwargs):
    cc_proto_library(name = name, **kwargs)
