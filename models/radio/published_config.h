#ifndef HETERO_MODELS_RADIO_PUBLISHED_CONFIG_H_
#define HETERO_MODELS_RADIO_PUBLISHED_CONFIG_H_

// The encoder of a published radio config.json.

#include <string_view>

#include "hetero/models/names/config_fields.h"
#include "hetero/models/radio/radio.pb.h"

namespace hetero {

// Adds to the violations of `fields` what the encoder cannot be, by the file's field names, and
// every field that is not known. The result may then be no sound configuration. Its last norm,
// which published encoders do not have, is the caller's to set.
proto::RadioEncoder ReadRadio(ConfigFields& fields);

// Patterns of what published encoders have beside weights: constants with which pixels are
// normalised, which is the data's part here, and which class tokens make a summary.
inline constexpr std::string_view kRadioExtras[] = {"radio_model.input_conditioner.*",
                                                    "radio_model.summary_idxs"};

}  // namespace hetero

#endif  // HETERO_MODELS_RADIO_PUBLISHED_CONFIG_H_
