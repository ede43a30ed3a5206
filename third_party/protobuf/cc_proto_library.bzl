"""cc_proto_library from where protobuf keeps it."""

cc_proto_library = native.cc_proto_library
