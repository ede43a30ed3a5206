#ifndef HETERO_TRAINER_CONFIG_FIELD_PATH_H_
#define HETERO_TRAINER_CONFIG_FIELD_PATH_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "google/protobuf/any.pb.h"
#include "google/protobuf/descriptor.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero {

// A field of a configuration, from the outside in: "grids[1].tp".
struct FieldPathPart {
  std::string name;
  std::optional<int> index;
};
using FieldPath = std::vector<FieldPathPart>;

// A path as it is typed. A grid may be named by its module: "language.tp" is "grids[1].tp" where
// that is the grid of `config` with this name.
// Errors: INVALID_ARGUMENT naming the part that is no field or field[index].
absl::StatusOr<FieldPath> ParseFieldPath(std::string_view path, const proto::RunConfig& config);

std::string ToString(const FieldPath& path);

// The message that `any` packs. Errors: INVALID_ARGUMENT none, or one that is not linked.
absl::StatusOr<const google::protobuf::Descriptor*> PackedType(const google::protobuf::Any& any);

}  // namespace hetero

#endif  // HETERO_TRAINER_CONFIG_FIELD_PATH_H_
