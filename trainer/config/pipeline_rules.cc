#include "hetero/trainer/config/pipeline_rules.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "hetero/data/sample_order.h"
#include "hetero/grid/config/from_proto.h"
#include "hetero/grid/layout.h"
#include "hetero/trainer/config/batch_rules.h"
#include "hetero/trainer/config/launch.h"
#include "hetero/trainer/config/supported_grids.h"
#include "hetero/trainer/step/plan_stages.h"

namespace hetero {

using proto::RunConfig;

int64_t PipelineChunks(const RunConfig& config) {
  return config.has_pipeline_chunks() ? config.pipeline_chunks() : 1;
}

void CheckInterleaving(const RunConfig& config, std::string_view sample_owner,
                       Violations& violations) {
  const absl::StatusOr<int64_t> world_size = ParseLaunch(config.launch());
  if (!world_size.ok() || !violations.Sound({"pipeline_chunks"})) return;
  const absl::StatusOr<Layout> layout = Layout::Make(SupportedGrids(config), *world_size);
  if (!layout.ok() || layout->Find(sample_owner) == nullptr) return;
  const int64_t lanes = layout->Find(sample_owner)->num_lanes();
  std::vector<Violation> found;
  for (const BatchSizes& batch : SoundBatches(config, violations)) {
    const data::BatchLayout step = {.global_batch_size = batch.global,
                                    .samples_per_microbatch = batch.micro * lanes};
    for (Violation& violation :
         CheckChunks(*layout, sample_owner, PipelineChunks(config), step, batch.GlobalField())) {
      Assignment& advice = violation.corrections[0][0];
      int64_t size = 0;
      if (advice.path == batch.GlobalField() && absl::SimpleAtoi(advice.value, &size)) {
        advice = batch.WithGlobal(size);
      }
      // The next multiple may be more than a batch can have.
      const Correction one = {{"pipeline_chunks", "1"}};
      if (violation.corrections[0] != one) violation.corrections.push_back(one);
      // What the grids do not bear is the same in training and in evaluation.
      if (std::ranges::find(found, violation) != found.end()) continue;
      if (!batch.prefix.empty()) {
        violation.message = absl::StrCat("evaluation: ", violation.message);
      }
      found.push_back(std::move(violation));
    }
  }
  violations.Add(std::move(found));
}

void CheckStages(const RunConfig& config, const Model& model, const GraphModule& module,
                 Violations& violations) {
  const auto divides = [&](int64_t pp, int64_t chunks) {
    return StagedTable(model, module, pp, chunks).status();
  };
  for (const proto::GridSpec& grid : config.grids()) {
    const GridSpec spec = FromProto(grid);
    if (spec.name != module.name || !Validate(spec).empty()) continue;
    if (const absl::Status stages = divides(spec.pp, 1); !stages.ok()) {
      violations.Add(Refuse(absl::StrCat(module.name, ".pp"),
                            absl::StrCat(" is ", spec.pp, ": ", stages.message())));
    } else if (violations.Sound({"pipeline_chunks"})) {
      const int64_t chunks = PipelineChunks(config);
      const absl::Status chunked = divides(spec.pp, chunks);
      if (chunked.ok()) continue;
      violations.Add(
          Refuse("pipeline_chunks", absl::StrCat(" is ", chunks, ": ", chunked.message()), {"1"}));
    }
  }
}

}  // namespace hetero
