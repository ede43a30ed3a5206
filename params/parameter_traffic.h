#ifndef HETERO_PARAMS_PARAMETER_TRAFFIC_H_
#define HETERO_PARAMS_PARAMETER_TRAFFIC_H_

#include "absl/status/status.h"

namespace hetero {

// What layers tell of their parameters while they run, so that these may travel beside the work on
// others. Layers are ParameterSpec::layer. Errors: those of collectives.
class ParameterTraffic {
 public:
  virtual ~ParameterTraffic() = default;

  // Called before the stage's stream is to read parameters of the layer.
  virtual absl::Status Needed(int layer) = 0;

  // Called when the last of a step's gradients of the layer and of all behind it are queued. What
  // is never called counts as written when the stage's last backward ends.
  virtual absl::Status Ready(int layer) = 0;
};

}  // namespace hetero

#endif  // HETERO_PARAMS_PARAMETER_TRAFFIC_H_
