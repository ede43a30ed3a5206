"""cuda_library: .cu files compiled by nvcc, with the deps and providers of a cc_library."""

load("@bazel_skylib//rules:common_settings.bzl", "BuildSettingInfo")
load("@bazel_tools//tools/build_defs/cc:action_names.bzl", "C_COMPILE_ACTION_NAME")
load("@rules_cc//cc:find_cc_toolchain.bzl", "find_cc_toolchain", "use_cc_toolchain")
load("@rules_cc//cc/common:cc_common.bzl", "cc_common")
load("@rules_cc//cc/common:cc_info.bzl", "CcInfo")

# Debug code is what a debugger wants; optimised code asserts nothing: an assertion in a kernel
# keeps the assembler from pipelining matrix products.
_MODE_FLAGS = {
    "dbg": ["-O0", "-g"],
    "fastbuild": ["-O2", "-lineinfo"],
    # A third of the size in a program, lines of source for profilers included.
    "opt": ["-O3", "-lineinfo", "-DNDEBUG", "--compress-mode=size"],
}

_FLAGS = [
    "-std=c++20",
    "--expt-relaxed-constexpr",
    "--Werror=all-warnings",
    # It takes an assignment for a dropped value where the type is [[nodiscard]].
    "-diag-suppress=2810",
    "-Xcompiler=-fPIC,-Wall,-Wextra,-Wno-missing-field-initializers",
]

def _unique(items):
    return {item: None for item in items}.keys()

def _include_flags(ctx, context):
    """Own headers' folders first, then those of other repositories, whose warnings are not ours."""
    own = [".", ctx.bin_dir.path]
    external = []
    for path in _unique(context.quote_includes.to_list() + context.includes.to_list() +
                        context.system_includes.to_list()):
        is_external = path.startswith("external/") or "/external/" in path
        (external if is_external else own).append(path)
    flags = ["-I" + path for path in own]
    for path in external:
        flags.extend(["-isystem", path])
    return flags

def _architecture_flags(ctx):
    flags = []
    for architecture in ctx.attr._archs[BuildSettingInfo].value.split(";"):
        flags.append("-gencode=arch=compute_%s,code=sm_%s" % (architecture, architecture))
    return flags

def _host_flags(ctx):
    """What the command line says about C++ code, but for the standard, which nvcc is told."""
    cpp = ctx.fragments.cpp
    flags = [flag for flag in cpp.copts + cpp.cxxopts if not flag.startswith("-std=")]
    return ["-Xcompiler=" + flag for flag in flags]

def _cuda_library_impl(ctx):
    cc_toolchain = find_cc_toolchain(ctx)
    features = cc_common.configure_features(
        ctx = ctx,
        cc_toolchain = cc_toolchain,
        requested_features = ctx.features,
        unsupported_features = ctx.disabled_features,
    )
    host_compiler = cc_common.get_tool_for_action(
        feature_configuration = features,
        action_name = C_COMPILE_ACTION_NAME,
    )
    infos = [dep[CcInfo] for dep in ctx.attr.deps]
    context = cc_common.merge_cc_infos(
        cc_infos = infos + [dep[CcInfo] for dep in ctx.attr._toolkit_headers],
    ).compilation_context
    defines = context.defines.to_list() + ctx.attr.local_defines
    flags = (
        _FLAGS + _MODE_FLAGS[ctx.var["COMPILATION_MODE"]] + _architecture_flags(ctx) +
        _host_flags(ctx) + ctx.attr.copts + ["-D" + define for define in _unique(defines)] +
        _include_flags(ctx, context)
    )

    objects = []
    for source in ctx.files.srcs:
        object = ctx.actions.declare_file("_objs/%s/%s.o" % (ctx.label.name, source.basename))
        objects.append(object)
        ctx.actions.run(
            executable = ctx.executable._compile,
            arguments = [ctx.file._nvcc.path, "-ccbin", host_compiler] + flags +
                        ["-c", source.path, "-o", object.path],
            inputs = depset(
                [source, ctx.file._nvcc] + ctx.files._compiler_files,
                transitive = [context.headers, cc_toolchain.all_files],
            ),
            outputs = [object],
            mnemonic = "CudaCompile",
            progress_message = "Compiling %s" % source.short_path,
            use_default_shell_env = True,
        )

    outputs = cc_common.create_compilation_outputs(
        objects = depset(objects),
        pic_objects = depset(objects),
    )
    linking_context, _ = cc_common.create_linking_context_from_compilation_outputs(
        actions = ctx.actions,
        name = ctx.label.name,
        cc_toolchain = cc_toolchain,
        compilation_outputs = outputs,
        disallow_dynamic_library = True,
        feature_configuration = features,
    )
    library = CcInfo(linking_context = linking_context)
    return [
        DefaultInfo(files = depset(objects)),
        cc_common.merge_cc_infos(
            direct_cc_infos = [library],
            cc_infos = infos + [dep[CcInfo] for dep in ctx.attr._runtime],
        ),
    ]

cuda_library = rule(
    implementation = _cuda_library_impl,
    attrs = {
        "copts": attr.string_list(doc = "Further flags of nvcc."),
        "deps": attr.label_list(providers = [CcInfo]),
        "local_defines": attr.string_list(),
        "srcs": attr.label_list(allow_files = [".cu"]),
        "_archs": attr.label(default = "//third_party/cuda:archs"),
        "_cc_toolchain": attr.label(default = "@bazel_tools//tools/cpp:current_cc_toolchain"),
        "_compile": attr.label(
            default = "//third_party/cuda:compile.sh",
            allow_single_file = True,
            cfg = "exec",
            executable = True,
        ),
        "_compiler_files": attr.label(default = "@cuda//:compiler_files", allow_files = True),
        "_nvcc": attr.label(default = "@cuda//:bin/nvcc", allow_single_file = True),
        "_runtime": attr.label_list(default = ["//third_party/cuda:cudart"]),
        "_toolkit_headers": attr.label_list(default = ["//third_party/cuda:cccl"]),
    },
    fragments = ["cpp"],
    toolchains = use_cc_toolchain(),
)
