#ifndef HETERO_TESTS_LAYOUTS_MODULE_GRIDS_H_
#define HETERO_TESTS_LAYOUTS_MODULE_GRIDS_H_

// How an encoder and a language model divide among ranks, and the runs that hold one division
// against another.

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "hetero/tests/layouts/curve.h"

namespace hetero {

struct ModuleGrid {
  int64_t tp = 1;
  int64_t dp = 1;
  int64_t pp = 1;
  int64_t ep = 1;
  int64_t expt_tp = 1;

  int64_t num_ranks() const { return tp * dp * pp; }
};

struct ModuleGrids {
  ModuleGrid encoder;
  ModuleGrid language;
  bool colocated = false;

  int64_t world_size() const;
  // "Encoder_tp2_Language_tp2_pp3": names every size above 1.
  std::string Name() const;
};

void PrintTo(const ModuleGrids& grids, std::ostream* out);

// The assignments to a recipe with modules radio_encoder and language. A microbatch of the run is
// `samples_per_microbatch` samples, whatever the lanes.
std::vector<std::string> FieldsOf(const ModuleGrids& grids, int64_t samples_per_microbatch);

// The small model of the sweep: eight layers of every kind, width 64, 8 experts, vocabulary 512,
// sequences of 32, 16 samples a step in microbatches of 4; kSweepSteps steps in fp32.
inline constexpr int kSweepSteps = 5;
proto::RunConfig SweepModel(const ModuleGrids& grids);
Curve TrainSweepModel(const ModuleGrids& grids);

// On one rank; trained once.
const Curve& SweepModelOnOneRank();

// All divisions of the sweep's model with the encoder and the language model apart: tp 1, 2, 4, ep
// 1, 2, 4, expt_tp, pp and dp 1, 2 of the language model, tp, dp and pp 1, 2 of the encoder, on at
// most 16 ranks, as far as they are legal.
std::vector<ModuleGrids> LegalGrids();

}  // namespace hetero

#endif  // HETERO_TESTS_LAYOUTS_MODULE_GRIDS_H_
