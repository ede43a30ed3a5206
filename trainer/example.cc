// Trains a recipe that was changed in code, for ten steps. The curves go below argv[1].

#include <unistd.h>

#include <filesystem>
#include <iostream>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/base/status.h"
#include "hetero/models/registry.h"
#include "hetero/trainer/config/config_text.h"
#include "hetero/trainer/exit_code.h"
#include "hetero/trainer/recipes/recipes.h"
#include "hetero/trainer/report/console.h"
#include "hetero/trainer/run.h"
#include "hetero/trainer/run_config.pb.h"
#include "hetero/trainer/signals.h"

namespace {

absl::Status Train(const std::filesystem::path& folder, hetero::Console& console) {
  HETERO_ASSIGN_OR_RETURN(
      hetero::proto::RunConfig config,
      hetero::ParseRunConfig(hetero::FindRecipe("mock_tiny").value(), "mock_tiny"));
  config.set_train_steps(10);
  HETERO_RETURN_IF_ERROR(hetero::SetField("language.num_ranks=1", config));
  HETERO_RETURN_IF_ERROR(hetero::SetField("launch=threads:1", config));

  // Models of your own are one Register a message.
  const hetero::ModelRegistry models = hetero::BuiltInModels();
  const hetero::StopSignals signals;
  return hetero::Run({.config = config, .working_folder = folder}, models, console, signals);
}

}  // namespace

int main(int argc, char** argv) {
  hetero::Console console(STDOUT_FILENO);
  const absl::Status status = Train(std::filesystem::absolute(argc > 1 ? argv[1] : "."), console);
  if (!status.ok()) std::cerr << hetero::DescribeFailure(status) << "\n";
  return static_cast<int>(hetero::ExitCodeFor(status));
}
