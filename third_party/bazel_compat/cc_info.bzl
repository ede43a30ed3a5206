"""CcInfo from where rules_cc keeps it."""

load(":cc_native.bzl", "NativeCcInfo")

CcInfo = NativeCcInfo
