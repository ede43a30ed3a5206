"""The part of skylib's common_settings that this repository uses."""

BuildSettingInfo = provider(
    doc = "Value of a build setting.",
    fields = ["value"],
)

def _impl(ctx):
    return BuildSettingInfo(value = ctx.build_setting_value)

bool_flag = rule(implementation = _impl, build_setting = config.bool(flag = True))

string_flag = rule(implementation = _impl, build_setting = config.string(flag = True))
