"""proto_library from where protobuf keeps it."""

proto_library = native.proto_library
