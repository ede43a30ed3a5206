#include "hetero/trainer/config/explain_field.h"

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "google/protobuf/any.pb.h"
#include "gtest/gtest.h"
#include "hetero/models/vlm/vlm.pb.h"
#include "hetero/trainer/config/config_text.h"
#include "hetero/trainer/config/field_comments.h"
#include "hetero/trainer/recipes/recipes.h"

namespace hetero {
namespace {

using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

proto::RunConfig Recipe() {
  proto::VisionLanguageModel::descriptor();  // links it
  return ParseRunConfig(*FindRecipe("mock_vlm_tiny"), "mock_vlm_tiny").value();
}

TEST(ExplainFieldTest, SaysTypeBoundsMeaningAndValue) {
  EXPECT_THAT(ExplainField("divergence_steps", Recipe()),
              IsOkAndHolds("divergence_steps: int64, 1 to 1000000000000\n"
                           "  So many steps one after the other whose gradients or loss are "
                           "infinite or NaN end the run as\n"
                           "  diverged; unset: 10.\n"
                           "  here: unset"));
  EXPECT_THAT(ExplainField("device", Recipe()),
              IsOkAndHolds(
                  AllOf(StartsWith("device: CPU | CUDA, required\n"), HasSubstr("\n  here: CPU"))));
  EXPECT_THAT(ExplainField("train_samples", Recipe()),
              IsOkAndHolds(HasSubstr(", instead of train_steps")));
}

TEST(ExplainFieldTest, GoesIntoListsModulesMessagesAndTheModel) {
  proto::RunConfig config = Recipe();
  int language = 0;
  while (config.grids(language).name() != "language") ++language;
  config.mutable_grids(language)->set_tp(2);
  EXPECT_THAT(ExplainField("language.tp", config),
              IsOkAndHolds(AllOf(StartsWith(absl::StrCat("grids[", language, "].tp: int64")),
                                 HasSubstr("\n  here: 2"))));
  EXPECT_THAT(ExplainField("model.encoder.num_layers", config),
              IsOkAndHolds(StartsWith("model.encoder.num_layers: int64, required")));
  EXPECT_THAT(ExplainField("checkpoint.save", config),
              IsOkAndHolds(AllOf(HasSubstr("SaveCheckpoints: The state between two steps"),
                                 HasSubstr("\n    .keep_last "))));
  EXPECT_THAT(ExplainField("model", config), IsOkAndHolds(HasSubstr("\n    .language ")));
}

TEST(ExplainFieldTest, NamesWhatIsNear) {
  EXPECT_THAT(
      ExplainField("checkpoint.save.keep_lst", Recipe()),
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(StartsWith("checkpoint.save.keep_lst: "), HasSubstr("nearest: 'keep_last'"))));
  EXPECT_THAT(ExplainField("seed.more", Recipe()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("seed is a single value")));
}

// Every message that a run's configuration can have is in a file that the program carries.
void ExpectComments(const google::protobuf::Descriptor& message, std::vector<std::string>& seen) {
  if (std::ranges::count(seen, message.full_name()) > 0) return;
  seen.emplace_back(message.full_name());
  bool any = !CommentOf(message).empty();
  for (int i = 0; i < message.field_count(); ++i) {
    any = any || !CommentOf(*message.field(i)).empty();
    const google::protobuf::Descriptor* const below = message.field(i)->message_type();
    if (below != nullptr && below != google::protobuf::Any::descriptor()) {
      ExpectComments(*below, seen);
    }
  }
  EXPECT_TRUE(any) << message.full_name();
}

TEST(ExplainFieldTest, AllMessagesHaveComments) {
  std::vector<std::string> seen;
  ExpectComments(*proto::RunConfig::descriptor(), seen);
  ExpectComments(*proto::VisionLanguageModel::descriptor(), seen);
  EXPECT_GT(seen.size(), 15);
}

}  // namespace
}  // namespace hetero
