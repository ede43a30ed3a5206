#include "hetero/models/blocks/projector/projector_names.h"

#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace hetero {
namespace {

// The published projector is a list of norm, linear, activation and linear.
constexpr Renaming kPublished[] = {{"encoder.weight", "1.weight"},
                                   {"encoder.linear_fc1.layer_norm_weight", "0.weight"},
                                   {"encoder.linear_fc1.", "1."},
                                   {"encoder.linear_fc2.", "3."}};

}  // namespace

absl::StatusOr<std::vector<BoxMap>> ProjectorNames(const ProjectorConfig& config, NameScheme scheme,
                                                   std::string_view name_prefix,
                                                   std::string_view key_prefix) {
  std::vector<BoxMap> maps;
  for (const ParameterSpec& spec : Projector::Parameters(config, name_prefix, 0)) {
    std::string_view own = spec.name;
    absl::ConsumePrefix(&own, name_prefix);
    const std::optional<std::string> other =
        IsMegatron(scheme) ? std::string(own) : Rename(own, kPublished);
    if (!other.has_value()) return NoOtherName(spec, scheme);
    maps.push_back(WholeTensor(spec, absl::StrCat(key_prefix, *other)));
  }
  return maps;
}

}  // namespace hetero
