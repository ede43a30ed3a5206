#include <algorithm>
#include <cstdint>
#include <numeric>

#include "hetero/tensor/ops/exchange_rows/exchange_rows.h"

namespace hetero::internal {

absl::Status SpreadChoicesCpu(const SpreadChoicesArgs& args) {
  const int64_t num_choices = args.experts_TK.num_elements();
  const int64_t num_experts = args.counts_E.dim(0), of_rank = args.experts_of_rank;
  const int64_t copies = num_experts == 0 ? 0 : args.counts_EP.dim(0) / num_experts;
  const int32_t* experts = args.experts_TK.data<int32_t>();
  const int32_t* counts = args.counts_E.data<int32_t>();
  int32_t* numbers = args.numbers_TKP.data<int32_t>();
  int32_t* spread = args.counts_EP.data<int32_t>();
  const auto number = [&](int64_t expert, int64_t copy) {
    return (expert / of_rank * copies + copy) * of_rank + expert % of_rank;
  };
  for (int64_t i = 0; i < num_choices; ++i) {
    for (int64_t p = 0; p < copies; ++p) {
      *numbers++ = experts[i] < 0 ? -1 : static_cast<int32_t>(number(experts[i], p));
    }
  }
  for (int64_t e = 0; e < num_experts; ++e) {
    for (int64_t p = 0; p < copies; ++p) spread[number(e, p)] = counts[e];
  }
  return absl::OkStatus();
}

absl::Status SortReceivedRowsCpu(const SortReceivedRowsArgs& args) {
  const int64_t num_sources = args.counts_GL.dim(0), num_experts = args.counts_GL.dim(1);
  const int64_t num_rows = args.received_R.dim(0);
  const int32_t* counts = args.counts_GL.data<int32_t>();
  int32_t* offsets = args.offsets_L1.data<int32_t>();
  int32_t* received = args.received_R.data<int32_t>();
  int32_t* sorted = args.sorted_R.data<int32_t>();
  // Calls visit(expert, first, last) for the received rows of every (source, expert).
  const auto for_each_chunk = [&](auto visit) {
    int64_t begin = -args.first;
    for (int64_t g = 0; g < num_sources; ++g) {
      for (int64_t e = 0; e < num_experts; ++e) {
        const int64_t end = begin + counts[g * args.counts_GL.stride(0) + e];
        visit(e, std::clamp<int64_t>(begin, 0, num_rows), std::clamp<int64_t>(end, 0, num_rows));
        begin = end;
      }
    }
  };
  std::fill_n(offsets, num_experts + 1, 0);
  for_each_chunk([&](int64_t e, int64_t first, int64_t last) {
    offsets[e + 1] += static_cast<int32_t>(last - first);
  });
  std::partial_sum(offsets, offsets + num_experts + 1, offsets);
  int32_t* cursors = args.scratch_2GL.data<int32_t>();
  if (num_sources > 0) std::copy_n(offsets, num_experts, cursors);
  for_each_chunk([&](int64_t e, int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      const int32_t place = cursors[e]++;
      received[place] = static_cast<int32_t>(row);
      sorted[row] = place;
    }
  });
  return absl::OkStatus();
}

}  // namespace hetero::internal
