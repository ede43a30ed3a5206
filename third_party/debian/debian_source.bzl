"""Source packages of a Debian archive as repositories, fetched by apt-get without root.

The archive is the one this machine already uses, so mirrors work and no host is written here. Each
upstream tarball is pinned by its sum. It is looked up in Bazel's repository cache and --distdir
first; then no network is touched.
"""

def _run(ctx, command):
    result = ctx.execute(command, timeout = 300)
    if result.return_code:
        fail("%s: `%s` failed:\n%s%s" % (
            ctx.name,
            " ".join([str(word) for word in command]),
            result.stdout,
            result.stderr,
        ))
    return result.stdout

def _apt_options(root):
    settings = {
        "APT::Sandbox::User": "root",
        "Dir::Cache": root + "/cache",
        "Dir::Etc::sourcelist": root + "/sources.list",
        "Dir::Etc::sourceparts": root + "/sources.d",
        "Dir::State": root + "/state",
    }
    return [word for key in settings for word in ["-o", "%s=%s" % (key, settings[key])]]

def _release(ctx):
    for line in ctx.read("/etc/os-release").split("\n"):
        if line.startswith("VERSION_CODENAME="):
            return line.split("=")[1].strip("\"'")
    fail("/etc/os-release names no VERSION_CODENAME; give the source tarballs with --distdir")

def _source_lines(text, release, suite):
    """The one-line entries of `release` in a *.list file, as source entries of `suite`."""
    lines = []
    for line in text.split("\n"):
        words = [word for word in line.split(" ") if word]
        if not words or words[0] != "deb":
            continue
        end = 1
        if words[1].startswith("["):
            end = [i for i, word in enumerate(words) if word.endswith("]")][0] + 1
        if len(words) > end + 1 and words[end + 1] == release:
            lines.append(" ".join(["deb-src"] + words[1:end + 1] + [suite, "main"]))
    return lines

def _source_stanzas(text, release, suite):
    """The stanzas of `release` in a *.sources file, as source entries of `suite`."""
    stanzas = []
    for stanza in text.split("\n\n"):
        lines = [line for line in stanza.split("\n") if line and not line.startswith("#")]
        fields = {
            line.split(":")[0].lower(): line[line.index(":") + 1:].split(" ")
            for line in lines
            if ":" in line and not line.startswith(" ")
        }
        if release not in fields.get("suites", []) or "deb" not in fields.get("types", []):
            continue
        replaced = {"components": "Components: main", "suites": "Suites: " + suite, "types": "Types: deb-src"}
        stanzas.append("\n".join([replaced.get(line.split(":")[0].lower(), line) for line in lines]))
    return stanzas

def _index_impl(ctx):
    release = _release(ctx)
    suite = ctx.attr.suite
    lines, stanzas = [], []
    found = ctx.execute(["sh", "-c", "ls /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null"])
    for path in found.stdout.split("\n"):
        if path.endswith(".list"):
            lines.extend(_source_lines(ctx.read(path), release, suite))
        elif path.endswith(".sources"):
            stanzas.extend(_source_stanzas(ctx.read(path), release, suite))
    if not lines and not stanzas:
        fail("no archive of %s in /etc/apt/sources.list*; give the source tarballs with --distdir" % release)
    ctx.file("sources.list", "\n".join(lines) + "\n")
    ctx.file("sources.d/debian.sources", "\n\n".join(stanzas) + "\n")
    ctx.file("state/lists/partial/.keep", "")
    ctx.file("cache/archives/partial/.keep", "")
    _run(ctx, ["apt-get"] + _apt_options(str(ctx.path("."))) + ["update"])
    ctx.file("BUILD", "")

debian_source_index = repository_rule(
    implementation = _index_impl,
    doc = "The list of a release's source packages. It needs no root and leaves /etc/apt alone.",
    attrs = {
        "suite": attr.string(mandatory = True, doc = "Release that is searched, by its code name."),
    },
)

def _source_impl(ctx):
    tarball = ctx.attr.tarball

    # The address never answers: this consults only the repository cache and --distdir.
    cached = ctx.download(
        url = ["file:///nonexistent/" + tarball],
        output = tarball,
        sha256 = ctx.attr.sha256,
        allow_fail = True,
    )
    if not cached.success:
        root = str(ctx.path(Label(ctx.attr.index)).dirname)
        _run(ctx, ["apt-get"] + _apt_options(root) +
                  ["source", "--download-only", "--tar-only", ctx.attr.package])

        # Checks the sum and fills the repository cache.
        ctx.download(
            url = ["file://%s" % ctx.path(tarball)],
            output = "checked",
            sha256 = ctx.attr.sha256,
        )
        ctx.delete("checked")
    ctx.extract(tarball, stripPrefix = ctx.attr.strip_prefix)
    ctx.delete(tarball)
    for patch in ctx.attr.patches:
        _run(ctx, ["patch", "-p1", "--forward", "--input", str(ctx.path(patch))])
    if ctx.attr.build_file:
        ctx.delete("BUILD.bazel")
        ctx.delete("BUILD")
        ctx.symlink(ctx.attr.build_file, "BUILD.bazel")
    for source, path in ctx.attr.files.items():
        ctx.delete(path)
        ctx.symlink(source, path)
    for path, program in ctx.attr.programs.items():
        found = ctx.which(program)
        if found == None:
            fail("%s: no program %s; %s" % (ctx.name, program, ctx.attr.program_hint))
        ctx.symlink(found, path)

debian_source = repository_rule(
    implementation = _source_impl,
    doc = "The upstream tarball of a Debian source package, unpacked.",
    attrs = {
        "build_file": attr.label(doc = "Replaces the upstream BUILD file."),
        "files": attr.label_keyed_string_dict(doc = "Files added, with their paths."),
        "index": attr.string(
            mandatory = True,
            doc = "A file of the index's repository. A string, so that it is fetched only when needed.",
        ),
        "package": attr.string(mandatory = True),
        "patches": attr.label_list(),
        "program_hint": attr.string(doc = "How to get a missing program."),
        "programs": attr.string_dict(doc = "Paths of links to installed programs, with their names."),
        "sha256": attr.string(mandatory = True),
        "strip_prefix": attr.string(mandatory = True),
        "tarball": attr.string(mandatory = True),
    },
)
