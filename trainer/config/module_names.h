#ifndef HETERO_TRAINER_CONFIG_MODULE_NAMES_H_
#define HETERO_TRAINER_CONFIG_MODULE_NAMES_H_

#include <span>
#include <string>
#include <string_view>

#include "google/protobuf/repeated_field.h"
#include "hetero/base/violation.h"

namespace hetero {

// Adds each of `named`, the values of the repeated field `field`, that is none of `modules`, all
// that the model has.
void CheckModuleNames(std::string_view field,
                      const google::protobuf::RepeatedPtrField<std::string>& named,
                      std::span<const std::string> modules, Violations& violations);

}  // namespace hetero

#endif  // HETERO_TRAINER_CONFIG_MODULE_NAMES_H_
