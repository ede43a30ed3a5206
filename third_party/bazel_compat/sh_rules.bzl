"""The shell rules, under the names that rules_shell gives them."""

sh_binary = native.sh_binary
sh_library = native.sh_library
sh_test = native.sh_test
