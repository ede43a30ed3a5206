#ifndef HETERO_TRAINER_CONFIG_EXPLAIN_FIELD_H_
#define HETERO_TRAINER_CONFIG_EXPLAIN_FIELD_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero {

// For people: what a field of a configuration means, its type and bounds, its value in `config`,
// and the fields of a message. `path` as in SetField.
// Errors: INVALID_ARGUMENT naming the part that is no field, with a near name or all there are.
absl::StatusOr<std::string> ExplainField(std::string_view path, const proto::RunConfig& config);

}  // namespace hetero

#endif  // HETERO_TRAINER_CONFIG_EXPLAIN_FIELD_H_
