"""Small local repositories in place of the rule sets that Bazel 4 would download."""

def _stand_in_impl(ctx):
    ctx.file("WORKSPACE", "workspace(name = \"%s\")\n" % ctx.name)
    for package in ctx.attr.packages:
        ctx.file((package + "/BUILD").lstrip("/"), "")
    for source, paths in ctx.attr.files.items():
        for path in paths.split(" "):
            ctx.symlink(source, path)

_stand_in = repository_rule(
    implementation = _stand_in_impl,
    attrs = {
        # Keys: files of this folder. Values: their paths in the repository, separated by spaces.
        "files": attr.label_keyed_string_dict(allow_files = True),
        # Packages with an empty BUILD file; "" is the root.
        "packages": attr.string_list(default = [""]),
    },
)

def _declare(name, packages, files):
    if native.existing_rule(name) == None:
        _stand_in(
            name = name,
            packages = packages,
            files = {
                Label("//third_party/bazel_compat:" + source): paths
                for source, paths in files.items()
            },
        )

def stand_in_repositories():
    """Declares the stand-ins. A Bazel after 4, which says its version, has some of them built in."""
    _declare("bazel_skylib", ["", "lib", "rules"], {
        "selects.bzl": "lib/selects.bzl",
        "common_settings.bzl": "rules/common_settings.bzl",
    })
    _declare("rules_proto", ["", "proto"], {"proto_rules.bzl": "proto/defs.bzl"})
    _declare("rules_shell", ["", "shell"], {
        "sh_rules.bzl": "shell/sh_binary.bzl shell/sh_library.bzl shell/sh_test.bzl",
    })
    for name in ["com_googlesource_code_re2", "libpfm"]:
        _declare(name, [], {"untaken.BUILD": "BUILD"})
    version = native.bazel_version
    if version and not version.startswith("4."):
        return
    _declare("rules_cc", ["", "cc", "cc/common"], {
        "cc_rules.bzl": " ".join(["cc/%s.bzl" % name for name in [
            "defs",
            "cc_binary",
            "cc_import",
            "cc_library",
            "cc_test",
        ]]),
        "cc_compiler.BUILD": "cc/compiler/BUILD",
        "find_cc_toolchain.bzl": "cc/find_cc_toolchain.bzl",
        "cc_common.bzl": "cc/common/cc_common.bzl",
        "cc_info.bzl": "cc/common/cc_info.bzl",
        "cc_native.bzl": "cc/common/cc_native.bzl",
    })
    _declare("rules_java", ["", "java"], {"java_rules.bzl": "java/defs.bzl"})
    _declare("platforms", [], {
        "platforms_root.BUILD": "BUILD",
        "platforms_cpu.BUILD": "cpu/BUILD",
        "platforms_os.BUILD": "os/BUILD",
    })
    _declare("remote_coverage_tools", [], {"coverage_tools.BUILD": "BUILD"})
