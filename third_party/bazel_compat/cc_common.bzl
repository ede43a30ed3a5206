"""cc_common from where rules_cc keeps it."""

load(":cc_native.bzl", "native_cc_common")

cc_common = native_cc_common
