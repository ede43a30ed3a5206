#ifndef HETERO_TOOLS_BENCH_CASE_H_
#define HETERO_TOOLS_BENCH_CASE_H_

// What the kernel benchmark measures: named pieces of work over operands of their own, on whatever
// device the operands are made for.

#include <functional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/base/status.h"
#include "hetero/models/blocks/context.h"
#include "hetero/tools/bench/operands.h"

namespace hetero::bench {

// Queues one call. The activation arena is empty before each.
using Call = std::function<absl::Status(ModuleContext&)>;

struct Work {
  Call forward;
  Call forward_backward;  // null where there is no backward
};

inline Work ForwardBackward(Call forward, Call backward) {
  Call both = [forward, backward](ModuleContext& context) -> absl::Status {
    HETERO_RETURN_IF_ERROR(forward(context));
    return backward(context);
  };
  return {.forward = std::move(forward), .forward_backward = std::move(both)};
}

struct Case {
  std::string name;
  // What it returns works on `operands`, which outlive it.
  std::function<absl::StatusOr<Work>(Operands& operands)> make;
};

}  // namespace hetero::bench

#endif  // HETERO_TOOLS_BENCH_CASE_H_
