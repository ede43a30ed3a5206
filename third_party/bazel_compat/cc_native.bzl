"""Built-in objects under other names: a file cannot assign a global to its own name."""

NativeCcInfo = CcInfo
native_cc_common = cc_common
