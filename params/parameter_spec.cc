#include "hetero/params/parameter_spec.h"

namespace hetero {

std::string_view ShardAxisName(ShardAxis axis) {
  switch (axis) {
    case ShardAxis::kTp:
      return "tp";
    case ShardAxis::kEp:
      return "ep";
    case ShardAxis::kExptTp:
      return "expt_tp";
    case ShardAxis::kNone:
      break;
  }
  return "none";
}

int64_t ParameterSpec::num_elements() const {
  int64_t count = 1;
  for (int64_t dim : shape) count *= dim;
  return count;
}

ShardSpec::Axis ShardSpec::axis(ShardAxis which) const {
  switch (which) {
    case ShardAxis::kTp:
      return tp;
    case ShardAxis::kEp:
      return ep;
    case ShardAxis::kExptTp:
      return expt_tp;
    case ShardAxis::kNone:
      break;
  }
  return {};
}

}  // namespace hetero
