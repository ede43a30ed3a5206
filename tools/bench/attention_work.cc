#include "hetero/tools/bench/attention_work.h"

#include <cmath>
#include <memory>
#include <utility>

namespace hetero::bench {

Work AttentionWork(const AttentionShape& shape, std::vector<int32_t> segments, Operands& operands) {
  const int64_t t = segments.back(), d = shape.head_size;
  const int64_t heads = shape.num_groups * shape.heads_per_group;
  const int64_t width = (heads + 2 * shape.num_groups) * d;
  const auto borders = std::make_shared<std::vector<int32_t>>(std::move(segments));
  AttentionForwardArgs forward = {.shape = shape,
                                  .qkv = operands.Normal({t, width}),
                                  .o = operands.Empty(operands.storage(), {t, heads * d}),
                                  .lse_HT = operands.Empty(operands.compute(), {heads, t})};
  forward.shape.segments = *borders;
  forward.shape.scale = 1 / std::sqrt(static_cast<double>(d));
  const AttentionBackwardArgs backward = {.shape = forward.shape,
                                          .qkv = forward.qkv,
                                          .o = forward.o,
                                          .lse_HT = forward.lse_HT,
                                          .d_o = operands.Normal({t, heads * d}),
                                          .d_qkv = operands.Empty(operands.storage(), {t, width})};
  return ForwardBackward(
      [forward, borders](ModuleContext& context) {
        return AttentionForward(forward, context.stream);
      },
      [backward, borders](ModuleContext& context) {
        return AttentionBackward(backward, context.stream);
      });
}

}  // namespace hetero::bench
