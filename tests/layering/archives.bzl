"""The archives that programs and libraries link of this repository, for tests that read them."""

_Archives = provider(fields = {"files": "depset of archives"})

def _archives_aspect_impl(target, ctx):
    files = []
    if CcInfo in target:
        for linker_input in target[CcInfo].linking_context.linker_inputs.to_list():
            if linker_input.owner != target.label:
                continue
            for library in linker_input.libraries:
                # Programs link the first; the other would compile everything once more.
                archive = library.static_library or library.pic_static_library
                if archive:
                    files.append(archive)
    transitive = [
        dep[_Archives].files
        for dep in getattr(ctx.rule.attr, "deps", [])
        if _Archives in dep
    ]
    return [_Archives(files = depset(files, transitive = transitive))]

_archives_aspect = aspect(
    implementation = _archives_aspect_impl,
    attr_aspects = ["deps"],
)

def _library_archives_impl(ctx):
    files = depset(transitive = [root[_Archives].files for root in ctx.attr.roots])
    own = [
        file
        for file in files.to_list()
        if file.owner.workspace_name == "" and not file.owner.name.endswith("_proto")
    ]
    return [DefaultInfo(files = depset(own), runfiles = ctx.runfiles(own))]

library_archives = rule(
    implementation = _library_archives_impl,
    doc = "The archives of this repository's libraries below `roots`, but those of messages.",
    attrs = {"roots": attr.label_list(aspects = [_archives_aspect])},
)
