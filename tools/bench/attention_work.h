#ifndef HETERO_TOOLS_BENCH_ATTENTION_WORK_H_
#define HETERO_TOOLS_BENCH_ATTENTION_WORK_H_

#include <cstdint>
#include <vector>

#include "hetero/tensor/ops/attention/attention.h"
#include "hetero/tools/bench/case.h"

namespace hetero::bench {

// The attention operation alone; borders and scale of `shape` are not looked at.
Work AttentionWork(const AttentionShape& shape, std::vector<int32_t> segments, Operands& operands);

}  // namespace hetero::bench

#endif  // HETERO_TOOLS_BENCH_ATTENTION_WORK_H_
