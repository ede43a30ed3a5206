#include "hetero/trainer/feed/open_tokenizer.h"

#include <string_view>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/trainer/feed/input_contract.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

// 600 tokens, of which 3 is "<image>".
constexpr std::string_view kWithImage = "data/text/testdata/nemotron.json";
// 600 tokens, none of them "<image>".
constexpr std::string_view kWithout = "data/text/testdata/gpt2.json";

InputContract Vision(int64_t vocabulary_size, int64_t image_token_id) {
  return {.vocabulary_size = vocabulary_size, .image_token_id = image_token_id, .patch_size = 4};
}

auto Refuses(std::string_view message) {
  return StatusIs(
      absl::StatusCode::kInvalidArgument,
      AllOf(HasSubstr("data.tokenizer: "), HasSubstr(".json: it has"), HasSubstr(message)));
}

TEST(OpenTokenizerTest, FitsTheModel) {
  EXPECT_THAT(OpenTokenizer(kWithImage, Vision(600, 3)), IsOk());
  EXPECT_THAT(OpenTokenizer(kWithout, Vision(601, 600)), IsOk());
  EXPECT_THAT(OpenTokenizer(kWithout, {.vocabulary_size = 600}), IsOk());
  EXPECT_THAT(OpenTokenizer(kWithImage, Vision(599, 3)),
              Refuses("ids up to 599, the model's vocabulary has 599; give a model with a "
                      "vocabulary of at least 600"));
  EXPECT_THAT(OpenTokenizer(kWithImage, Vision(1024, 511)),
              Refuses("the token <image> with the id 3, the model's image token is 511; give a "
                      "model whose image token is 3"));
  EXPECT_THAT(OpenTokenizer(kWithout, Vision(1024, 66)),
              Refuses("no token <image>, and the model's image token 66 is its id of \"b\"; give a "
                      "model whose image token is at least 600"));
}

TEST(OpenTokenizerTest, NamesTheFieldOfAFileThatIsMissing) {
  EXPECT_THAT(OpenTokenizer("nowhere/tokenizer.json", {.vocabulary_size = 600}),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("data.tokenizer: "), HasSubstr("nowhere/tokenizer.json"))));
}

}  // namespace
}  // namespace hetero
