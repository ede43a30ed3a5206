#include "hetero/trainer/config/checkpoint_rules.h"

#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"

namespace hetero {
namespace {

void CheckSave(const proto::RunConfig& config, Violations& violations) {
  const proto::SaveCheckpoints& save = config.checkpoint().save();
  if (save.has_keep_every() && !save.has_keep_last()) {
    Violation violation = Refuse("checkpoint.save.keep_every",
                                 absl::StrCat(" is ", save.keep_every(),
                                              ", which spares checkpoints from "
                                              "checkpoint.save.keep_last, which is not set"));
    violation.corrections = {{{"checkpoint.save.keep_last", "2"}}};
    violations.Add(std::move(violation));
  }
  if (save.keep_best() && !config.has_evaluation()) {
    violations.Add(Refuse("checkpoint.save.keep_best",
                          " is true, which needs evaluation, and that is not set", {"false"}));
  }
}

void CheckLoad(const proto::LoadCheckpoint& load, Violations& violations) {
  if (load.finetune()) return;
  const auto needs_finetune = [&](std::string_view field, std::string_view text) {
    Violation violation = Refuse(absl::StrCat("checkpoint.load.", field), text);
    violation.corrections = {{{"checkpoint.load.finetune", "true"}}};
    violations.Add(std::move(violation));
  };
  if (load.foreign()) {
    needs_finetune("foreign",
                   " is true, and checkpoints of others say nothing of steps and schedules of this "
                   "program");
  }
  if (load.names() == proto::LoadCheckpoint::LLAVA) {
    needs_finetune("names", " is LLAVA, which names weights alone");
  }
  if (load.modules_size() > 0) {
    needs_finetune("modules", " leaves modules out, whose weights begin anew");
  }
}

}  // namespace

void CheckCheckpoint(const proto::RunConfig& config, Violations& violations) {
  if (!violations.Sound({"checkpoint"})) return;
  CheckSave(config, violations);
  CheckLoad(config.checkpoint().load(), violations);
}

}  // namespace hetero
