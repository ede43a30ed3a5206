#ifndef HETERO_TRAINER_CONFIG_CONFIG_TEXT_H_
#define HETERO_TRAINER_CONFIG_CONFIG_TEXT_H_

// A run configuration as text: a protobuf text format file, single fields set by path, and the
// text it is printed as.

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero {

// `source` names the text in errors. Messages inside `model` must be linked into the program.
// Errors: INVALID_ARGUMENT "source:line:column: ...", for an unknown field with a near name or all.
absl::StatusOr<proto::RunConfig> ParseRunConfig(std::string_view text, std::string_view source);

// Defined in set_field.cc. Sets one field. `assignment` is "path=value". A path is field names
// joined by dots, an element of a repeated field is field[index], where the index after the last
// one appends; a grid may also be addressed by its module's name; `model` continues with the fields
// of the model's own message. A value is what the text format takes, quotes around a string may be
// left out, a word of an enum may be in any case, and it replaces what was there:
//   train_steps=10   grids[1].tp=2   language.tp=2   model.language.pattern=MEM*E   device=cuda
// Errors: INVALID_ARGUMENT "path=value: ..." naming the part that fails and a near field name or
// all there are, or the words an enum has; `config` is then unchanged.
absl::Status SetField(std::string_view assignment, proto::RunConfig& config);

// Text format that ParseRunConfig reads back to an equal message.
std::string ToText(const proto::RunConfig& config);

}  // namespace hetero

#endif  // HETERO_TRAINER_CONFIG_CONFIG_TEXT_H_
