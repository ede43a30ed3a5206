#include "hetero/trainer/testing/recipe_run.h"

#include <fcntl.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>

#include "absl/log/check.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"
#include "hetero/trainer/config/config_text.h"
#include "hetero/trainer/recipes/recipes.h"
#include "hetero/trainer/report/console.h"
#include "hetero/trainer/run.h"
#include "hetero/trainer/signals.h"

namespace hetero {

std::filesystem::path TestFolder() { return ::testing::TempDir(); }

proto::RunConfig RecipeConfig(std::string_view recipe,
                              const std::vector<std::string>& assignments) {
  const std::optional<std::string_view> text = FindRecipe(recipe);
  CHECK(text.has_value()) << recipe;
  absl::StatusOr<proto::RunConfig> config = ParseRunConfig(*text, recipe);
  CHECK_OK(config.status());
  if (config->data().has_fashion_mnist()) {
    config->mutable_data()->mutable_fashion_mnist()->set_cache("fashion_mnist");
  }
  for (const std::string& assignment : assignments) CHECK_OK(SetField(assignment, *config));
  return *std::move(config);
}

RecipeRun RunConfigured(const proto::RunConfig& config, const RecipeRunOptions& options) {
  const std::filesystem::path printed = TestFolder() / "console.txt";
  const int descriptor = open(printed.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
  CHECK_GE(descriptor, 0) << printed;
  RecipeRun run;
  {
    Console console(descriptor);
    StopSignals signals;
    run.status = Run({.config = config,
                      .working_folder = TestFolder(),
                      .dry_run = options.dry_run,
                      .profile = options.profile,
                      .trace = options.trace,
                      .picture = options.picture,
                      .on_step =
                          [&](const StepMetrics& step) {
                            run.steps.push_back(step);
                            if (options.on_step) options.on_step(step);
                          },
                      .on_stuck = options.on_stuck},
                     options.models, console, signals);
  }
  close(descriptor);
  std::stringstream text;
  text << std::ifstream(printed).rdbuf();
  run.output = text.str();
  return run;
}

double ResultValue(std::string_view output, std::string_view name) {
  const std::string prefix = absl::StrCat(name, "=");
  for (std::string_view line : absl::StrSplit(output, '\n')) {
    if (!line.starts_with("RESULT ")) continue;
    for (std::string_view field : absl::StrSplit(line, ' ')) {
      double value;
      if (field.starts_with(prefix) && absl::SimpleAtod(field.substr(prefix.size()), &value)) {
        return value;
      }
    }
  }
  ADD_FAILURE() << "no " << name << " on a RESULT line of\n" << output;
  return std::numeric_limits<double>::quiet_NaN();
}

}  // namespace hetero
