"""Libraries that are installed on the machine, as repositories."""

_BUILD = """\
package(default_visibility = ["//visibility:public"])

cc_library(
    name = "{target}",
    hdrs = glob(["include/**"]),
    includes = ["include"],
    linkopts = {linkopts},
)
"""

def _find(ctx, header):
    for folder in ["/usr/include", "/usr/include/x86_64-linux-gnu", "/usr/include/aarch64-linux-gnu"]:
        path = ctx.path(folder + "/" + header)
        if path.exists:
            return path
    fail("%s: no header %s; run: apt-get install -y --no-install-recommends %s" % (
        ctx.name,
        header,
        ctx.attr.package,
    ))

def _installed_package_impl(ctx):
    for header in ctx.attr.headers:
        name = header[len(ctx.attr.strip_prefix):] if header.startswith(ctx.attr.strip_prefix) else header
        ctx.symlink(_find(ctx, header), "include/" + name)
    ctx.file("BUILD", _BUILD.format(
        target = ctx.attr.target,
        linkopts = repr(ctx.attr.linkopts),
    ))

installed_package = repository_rule(
    implementation = _installed_package_impl,
    local = True,
    attrs = {
        "headers": attr.string_list(
            mandatory = True,
            doc = "Headers, or folders of headers, below the compiler's own include folders.",
        ),
        "linkopts": attr.string_list(),
        "package": attr.string(mandatory = True, doc = "Debian package that has the headers."),
        "strip_prefix": attr.string(doc = "Cut from the headers' paths."),
        "target": attr.string(mandatory = True, doc = "Name of the library in the repository."),
    },
)
