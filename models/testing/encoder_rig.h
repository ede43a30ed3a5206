#ifndef HETERO_MODELS_TESTING_ENCODER_RIG_H_
#define HETERO_MODELS_TESTING_ENCODER_RIG_H_

// An encoder with its projector on the ranks of a grid (parallel_rig.h), as one pipeline stage or
// as several one after another.

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/models/blocks/projector/encoder_stage.h"
#include "hetero/models/testing/parallel_rig.h"
#include "hetero/tensor/sample_facts.h"

namespace hetero {

// A microbatch of every lane, and what the module makes of it.
struct EncoderMicrobatch {
  std::vector<MediaSize> sizes;
  int64_t num_read = 0;     // patches or frames
  int64_t num_hidden = 0;   // rows between stages
  int64_t num_outputs = 0;  // rows for the language model
};

struct EncoderRun {
  int num_stages = 1;
  bool evaluate = false;  // forward alone, of which only results stay
};

template <typename Encoder>
absl::Status RunEncoder(ParallelRig& rig, const typename ProjectedEncoder<Encoder>::Config& config,
                        int64_t read_width, int64_t hidden_width, const EncoderMicrobatch& batch,
                        const EncoderRun& options) {
  HETERO_ASSIGN_OR_RETURN(const ParameterTable table, MakeEncoderTable<Encoder>(config, 1));
  ParameterStore& parameters = rig.MakeParameters(table);
  ModuleContext& context = rig.context();
  std::vector<std::unique_ptr<Stage>> stages;
  for (int s = 0; s < options.num_stages; ++s) {
    HETERO_ASSIGN_OR_RETURN(
        std::unique_ptr<Stage> stage,
        EncoderStage<Encoder>::Create(config, {.stage = s, .num_stages = options.num_stages},
                                      rig.Resources(parameters)));
    stages.push_back(std::move(stage));
  }
  for (const int64_t lane : rig.lanes()) {
    const ModalityBatch read = {
        .features = rig.Normal("what is read", lane, batch.num_read, read_width),
        .sizes = batch.sizes};
    if (options.evaluate) context.mode = Mode::kEval;
    TensorView rows;
    for (int s = 0; s < options.num_stages; ++s) {
      HETERO_ASSIGN_OR_RETURN(
          rows, stages[s]->Forward(context, 0, {.modalities = {&read, 1}, .previous_stage = rows}));
      const bool last = s + 1 == options.num_stages;
      rig.KeepRows(absl::StrCat("rows of stage ", s), lane, rows,
                   last ? batch.num_outputs : batch.num_hidden);
    }
    if (options.evaluate) continue;

    TensorView d_rows =
        rig.OwnRows(rig.Normal("d rows", lane, batch.num_outputs, config.projector.output_size));
    for (int s = options.num_stages; s-- > 0;) {
      TensorView d_previous;
      if (s > 0) {
        HETERO_ASSIGN_OR_RETURN(
            d_previous, context.activations.Allocate(
                            d_rows.dtype(), {rig.Shard(batch.num_hidden).rows(), hidden_width}));
      }
      // Nobody wants the gradient of what is read, as a run says to its first stages.
      context.needs_input_gradient = s > 0;
      HETERO_RETURN_IF_ERROR(
          stages[s]->Backward(context, 0, d_rows, {.previous_stage = d_previous}));
      if (!config.train_encoder) break;
      if (s > 0) {
        rig.KeepGradientRows(absl::StrCat("d rows of stage ", s - 1), lane, d_previous,
                             batch.num_hidden);
      }
      d_rows = d_previous;
    }
  }
  return options.evaluate ? absl::OkStatus() : rig.KeepGradients(parameters);
}

}  // namespace hetero

#endif  // HETERO_MODELS_TESTING_ENCODER_RIG_H_
