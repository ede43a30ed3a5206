"""The part of skylib's selects that Abseil uses."""

def _config_setting_group(name, match_all = [], match_any = [], visibility = None):
    """Declares `name`, true when all of match_all, or any of match_any, are."""
    if bool(match_all) == bool(match_any):
        fail("give exactly one of match_all and match_any")
    settings = match_all or match_any
    if len(settings) == 1:
        native.alias(name = name, actual = settings[0], visibility = visibility)
        return

    # A chain of links, each choosing between one setting and the rest of the chain: "all" goes on
    # while settings hold and stops at the first that does not, "any" the other way round.
    rest = settings[-1]
    for i in range(len(settings) - 2, -1, -1):
        link = name if i == 0 else "%s_%d" % (name, i)
        held, failed = (rest, settings[i]) if match_all else (settings[i], rest)
        native.alias(
            name = link,
            actual = select({settings[i]: held, "//conditions:default": failed}),
            visibility = visibility,
        )
        rest = ":" + link

selects = struct(config_setting_group = _config_setting_group)
