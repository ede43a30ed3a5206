// The operations by definition that a dry run prints are the same in every layout, and those that
// the kernels count while they run on shapes.

#include <regex>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/numbers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Fields = std::vector<std::string>;

std::string DryRun(const Fields& fields) {
  const RecipeRun run = RunConfigured(RecipeConfig("mock_vlm_tiny", fields), {.dry_run = true});
  EXPECT_THAT(run.status, IsOk());
  return run.output;
}

// What does not depend on the layout.
std::vector<std::string> OfModules(const std::string& dry_run) {
  static const std::regex kLine(
      "((?:[a-z_]+: [0-9]+ parameters, [^;\n]*)|(?:  forward [^\n]*)|"
      "(?:a training step of [^\n]*))");
  std::vector<std::string> lines;
  for (std::sregex_iterator it(dry_run.begin(), dry_run.end(), kLine), end; it != end; ++it) {
    lines.push_back((*it)[1]);
  }
  return lines;
}

// In MFLOP: of the operations whose names begin with one of `names`, on all ranks in a step.
double Counted(const std::string& dry_run, const std::string& names) {
  const std::regex line("(?:rank [0-9]+ \\([^\n]*\\) x ([0-9]+)\n)|(?:    (?:" + names +
                        ")\\S* +[0-9]+ calls +([0-9.]+) MFLOP)");
  double sum = 0, ranks = 0;
  for (std::sregex_iterator it(dry_run.begin(), dry_run.end(), line), end; it != end; ++it) {
    double value = 0;
    EXPECT_TRUE(absl::SimpleAtod((*it)[1].matched ? (*it)[1].str() : (*it)[2].str(), &value));
    if ((*it)[1].matched) ranks = value;
    if ((*it)[2].matched) sum += ranks * value;
  }
  return sum;
}

// In MFLOP: the last line on modules.
double Defined(const std::string& dry_run) {
  static const std::regex kLine("a training step of [0-9]+ samples: ([0-9.]+) GFLOP");
  std::smatch match;
  double gflop = 0;
  EXPECT_TRUE(std::regex_search(dry_run, match, kLine));
  EXPECT_TRUE(absl::SimpleAtod(match[1].str(), &gflop));
  return gflop * 1e3;
}

const Fields kTensorParallel = {"launch=threads:8",
                                "radio_encoder.num_ranks=4",
                                "radio_encoder.tp=2",
                                "language.num_ranks=4",
                                "language.rank_offset=4",
                                "language.tp=2",
                                "language.ep=4",
                                "micro_batch_size=2",
                                "model.language.pattern=\"MEM*E-\"",
                                "model.language.mlp={ffn_size: 96}"};

TEST(DryRunFlopsTest, OfModulesAreTheSameInEveryLayout) {
  const Fields model = {"model.language.pattern=\"MEM*E-\"", "model.language.mlp={ffn_size: 96}"};
  Fields pipelined = model;
  for (const char* field : {"launch=threads:4", "radio_encoder.num_ranks=2", "radio_encoder.pp=2",
                            "language.num_ranks=2", "language.rank_offset=2", "language.pp=2"}) {
    pipelined.emplace_back(field);
  }
  const std::vector<std::string> lines = OfModules(DryRun(model));
  EXPECT_EQ(OfModules(DryRun(kTensorParallel)), lines);
  EXPECT_EQ(OfModules(DryRun(pipelined)), lines);
  // Of 48 tokens and 16 samples; the encoder's of an image of 64 patches, which become 16 tokens.
  EXPECT_THAT(lines,
              ElementsAre(HasSubstr("radio_encoder: 119424 parameters, 0 of experts, 119424 used"),
                          HasSubstr(" for each of its 16 tokens; "), HasSubstr("language: "),
                          HasSubstr(" for each of its 48 tokens; "),
                          HasSubstr("a training step of 16 samples: ")));
}

// Attention's backward computes the scores once more: by definition it is two forwards.
TEST(DryRunFlopsTest, AreWhatTheKernelsCount) {
  constexpr char kProducts[] = "linear\\.|gemm\\.|expert_linear\\.|head\\.";
  const std::string language = "model.freeze_language=true", encoder = "model.freeze_encoder=true",
                    projector = "model.freeze_projector=true";
  const std::pair<Fields, int> cases[] = {
      // with the forwards of the encoder's attention
      {{}, 3},        {{language}, 3},          {{projector}, 3},
      {{encoder}, 1}, {{encoder, language}, 1}, {{encoder, projector}, 1}};
  for (const auto& [frozen, forwards] : cases) {
    SCOPED_TRACE(testing::PrintToString(frozen));
    Fields fields = {"model.language.pattern=\"EE-\"", "model.language.mlp={ffn_size: 96}"};
    fields.insert(fields.end(), frozen.begin(), frozen.end());
    const std::string text = DryRun(fields);
    const double attention = forwards * Counted(text, "attention\\.forward");
    EXPECT_GT(attention, 0);
    EXPECT_NEAR(Defined(text), Counted(text, kProducts) + attention, 1);
  }
}

}  // namespace
}  // namespace hetero
