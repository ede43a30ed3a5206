#ifndef HETERO_MODELS_NEMOTRON_PUBLISHED_CONFIG_H_
#define HETERO_MODELS_NEMOTRON_PUBLISHED_CONFIG_H_

// The model of a published nemotron_h config.json.

#include "hetero/models/names/config_fields.h"
#include "hetero/models/nemotron/hybrid.pb.h"

namespace hetero {

// Adds to the violations of `fields` what the model cannot be, by the file's field names, and every
// field that is not known. The result may then be no sound configuration. What the file does not
// say is 0: the coefficient of the balance loss and the rate of the expert bias.
//
// Time steps are limited by time_step_limit, as in the published model's own code; that of
// transformers 5 limits them by time_step_min instead, which otherwise says how a new model's
// steps are drawn.
proto::HybridLanguageModel ReadNemotronH(ConfigFields& fields);

}  // namespace hetero

#endif  // HETERO_MODELS_NEMOTRON_PUBLISHED_CONFIG_H_
