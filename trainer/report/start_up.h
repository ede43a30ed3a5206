#ifndef HETERO_TRAINER_REPORT_START_UP_H_
#define HETERO_TRAINER_REPORT_START_UP_H_

// What runs where, in the few lines a run begins with.

#include <span>
#include <string>
#include <string_view>

#include "hetero/grid/layout.h"
#include "hetero/tensor/device.h"
#include "hetero/tensor/dtype.h"
#include "hetero/trainer/step/plan.h"

namespace hetero {

// For example, with axes of one rank left out:
//   4 ranks, threads of this process on the CPU; oneDNN 2.6.3 with AVX2, kernels with AVX2, ...
//     radio_encoder  ranks 0-1: dp 2
//     language       ranks 2-3: dp 2
//   64 samples a step: 4 microbatches of 8 on 2 language lanes
//   data: Fashion-MNIST in /root/.cache/hetero/fashion_mnist
// or, unless `one_process`, "4 ranks, each a process, on the CPU; ...". `batch` as
// DescribeBatches. `devices` by rank: all the CPU, or all GPUs, each rank's own
// or one that all share.
std::string DescribeStart(const Layout& layout, std::string_view batch,
                          std::span<const Device> devices, bool one_process, DType storage,
                          std::string_view data);

}  // namespace hetero

#endif  // HETERO_TRAINER_REPORT_START_UP_H_
