// What is wrong with a file is named, and what a tokenizer refuses to do.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/file/file.h"
#include "hetero/data/file/test_folder.h"
#include "hetero/data/text/load_tokenizer.h"
#include "hetero/data/text/tokenizer.h"
#include "nlohmann/json.hpp"

namespace hetero::data {
namespace {

namespace fs = std::filesystem;

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Optional;
using ::testing::Test;

using Json = nlohmann::json;
using Pointer = Json::json_pointer;

constexpr std::string_view kFolder = "data/text/testdata/";

class TokenizerFileTest : public Test {
 protected:
  // Loads nemotron.json with `value` at `place`.
  absl::StatusOr<std::shared_ptr<const Tokenizer>> With(const std::string& place, Json value) {
    Json json = Json::parse(ReadFile(absl::StrCat(kFolder, "nemotron.json")).value());
    json[Pointer(place)] = std::move(value);
    const fs::path path = folder_ / "tokenizer.json";
    if (absl::Status status = WriteFileAtomically(path, json.dump()); !status.ok()) return status;
    return LoadTokenizer(path);
  }

  absl::Status Error(const std::string& place, Json value) {
    return With(place, std::move(value)).status();
  }

  const fs::path folder_ = FreshFolder("tokenizer_files");
};

auto IsBad(std::string_view message) {
  return StatusIs(absl::StatusCode::kInvalidArgument,
                  AllOf(HasSubstr("tokenizer.json: "), HasSubstr(message)));
}

TEST_F(TokenizerFileTest, KindsThatAreNotByteLevelAreRefusedByName) {
  EXPECT_THAT(Error("/model/type", "Unigram"), IsBad("model.type is Unigram, supported is BPE"));
  EXPECT_THAT(Error("/normalizer", {{"type", "NFKC"}}),
              IsBad("normalizer.type is NFKC, supported is NFC"));
  EXPECT_THAT(Error("/normalizer", {{"type", "Sequence"},
                                    {"normalizers", {{{"type", "NFC"}}, {{"type", "Lowercase"}}}}}),
              IsBad("normalizer.normalizers[1].type is Lowercase, supported is NFC"));
  EXPECT_THAT(Error("/pre_tokenizer", nullptr),
              IsBad("pre_tokenizer has no part; its last must be ByteLevel"));
  EXPECT_THAT(Error("/pre_tokenizer", {{"type", "Whitespace"}}),
              IsBad("pre_tokenizer.type is Whitespace, supported is Split, Digits, ByteLevel"));
  EXPECT_THAT(Error("/pre_tokenizer", {{"type", "Digits"}}),
              IsBad("pre_tokenizer.type is Digits; its last must be ByteLevel"));
  EXPECT_THAT(Error("/decoder", {{"type", "Fuse"}}),
              IsBad("decoder.type is Fuse, supported is ByteLevel"));
  EXPECT_THAT(Error("/model/byte_fallback", true),
              IsBad("model.byte_fallback is true, must be false"));
  EXPECT_THAT(Error("/model/dropout", 0.1), IsBad("model.dropout is 0.1, must be null"));
  EXPECT_THAT(Error("/model/end_of_word_suffix", "</w>"),
              IsBad("model.end_of_word_suffix is \"</w>\", must be null"));
}

TEST_F(TokenizerFileTest, FieldsOfAnotherTypeAreNamed) {
  EXPECT_THAT(Error("/model", 1), IsBad("model is not set"));
  EXPECT_THAT(Error("/model/vocab", Json::array()), IsBad("model.vocab must map tokens to ids"));
  EXPECT_THAT(Error("/model/vocab/x", -1),
              IsBad("model.vocab of \"x\" is -1, must be an integer from 0 to 16777215"));
  EXPECT_THAT(Error("/model/vocab/x", 18446744073709551615u), IsBad("must be an integer from 0"));
  EXPECT_THAT(Error("/model/merges", 3), IsBad("model.merges must be a list"));
  EXPECT_THAT(Error("/model/merges/1", "a b c"),
              IsBad("model.merges[1] is \"a b c\", must be two tokens"));
  EXPECT_THAT(Error("/model/ignore_merges", "yes"),
              IsBad("model.ignore_merges is \"yes\", must be true or false"));
  EXPECT_THAT(Error("/added_tokens/2/content", 7),
              IsBad("added_tokens[2].content is 7, must be a string"));
  EXPECT_THAT(Error("/pre_tokenizer/pretokenizers/0/behavior", "Kept"),
              IsBad("pre_tokenizer.pretokenizers[0].behavior is Kept, must be one of Isolated"));
  EXPECT_THAT(Error("/pre_tokenizer/pretokenizers/0/pattern", "x"),
              IsBad("pre_tokenizer.pretokenizers[0].pattern must be an object"));
  EXPECT_THAT(
      Error("/pre_tokenizer/pretokenizers/0/pattern/Regex", "^a"),
      IsBad("pre_tokenizer.pretokenizers[0].pattern: the expression \"^a\": '^' at byte 0"));
}

TEST_F(TokenizerFileTest, IdsAndTokensFitTogether) {
  EXPECT_THAT(Error("/model/vocab/another", 5), IsBad("model.vocab has the id 5 twice"));
  EXPECT_THAT(Error("/added_tokens/0/id", 17),
              IsBad("added_tokens has \"<unk>\" with the id 17, it has the id 0 too"));
  EXPECT_THAT(Error("/added_tokens/0/content", "<new>"),
              IsBad("added_tokens has \"<new>\" with the id 0, which is that of \"<unk>\""));
  EXPECT_THAT(Error("/model/merges/0", {"q", "\u0120"}), IsBad("vocab has no token \"q \""));
  EXPECT_THAT(Error("/model/merges/0", {"q", "\u4e00"}),
              IsBad("must be of characters that stand for bytes"));
}

TEST_F(TokenizerFileTest, FilesThatAreNoTokenizerAreNamed) {
  EXPECT_THAT(LoadTokenizer(folder_ / "missing.json"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("missing.json")));
  EXPECT_THAT(LoadTokenizer(folder_),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("has neither tokenizer.json nor tokenizer.model")));
  EXPECT_THAT(LoadTokenizer(folder_ / "vocab.txt"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("vocab.txt: its name must end with .json")));
  const auto load = [&](std::string_view name, std::string_view bytes) {
    EXPECT_THAT(WriteFileAtomically(folder_ / name, bytes), IsOk());
    return LoadTokenizer(folder_ / name).status();
  };
  EXPECT_THAT(load("tokenizer.json", "{\"model\": "), IsBad("parse error at line 1"));
  EXPECT_THAT(load("tokenizer.json", "[]"), IsBad("the file is no JSON object"));
  EXPECT_THAT(load("a.model", "no model"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("a.model: "), HasSubstr("no SentencePiece model"))));
}

TEST_F(TokenizerFileTest, AFolderHasTheTokenizerOfItsFile) {
  ASSERT_THAT(Error("/version", "1.0"), IsOk());
  const auto tokenizer = LoadTokenizer(folder_);
  ASSERT_THAT(tokenizer, IsOk());
  EXPECT_THAT((*tokenizer)->Find("<|im_start|>"), Optional(1));
  EXPECT_THAT((*tokenizer)->Find("<image>"), Optional(3));
  EXPECT_EQ((*tokenizer)->Find("<video>"), std::nullopt);
}

TEST_F(TokenizerFileTest, IdsThatStandForNothingAreNamed) {
  const auto tokenizer = With("/model/vocab/last", 900);
  ASSERT_THAT(tokenizer, IsOk());
  EXPECT_EQ((*tokenizer)->vocabulary_size(), 901);
  for (const int32_t id : {-1, 850, 901}) {
    EXPECT_THAT((*tokenizer)->Decode(std::vector<int32_t>{900, id}),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr(absl::StrCat("id ", id,
                                                " at position 1 is no token; the "
                                                "vocabulary has 0 to 900"))));
  }
  const auto pieces = LoadTokenizer(absl::StrCat(kFolder, "bpe.model"));
  ASSERT_THAT(pieces, IsOk());
  EXPECT_THAT((*pieces)->Decode(std::vector<int32_t>{100'000}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("id 100000 at position 0")));
  EXPECT_THAT((*pieces)->Find("<image>"), Optional(5));
  EXPECT_EQ((*pieces)->Find("<video>"), std::nullopt);
}

// The reference takes letters of Latin-1 in an added token for bytes.
TEST_F(TokenizerFileTest, AnAddedTokenIsDecodedAsItIsWritten) {
  const auto tokenizer = With("/added_tokens/9", {{"id", 800}, {"content", "<\u00e9>"}});
  ASSERT_THAT(tokenizer, IsOk());
  EXPECT_THAT(Encode(**tokenizer, "<\u00e9>"), IsOkAndHolds(std::vector<int32_t>{800}));
  EXPECT_THAT((*tokenizer)->Decode(std::vector<int32_t>{800}), IsOkAndHolds("<\u00e9>"));
}

TEST_F(TokenizerFileTest, ATextThatAnExpressionCannotCutIsAnErrorAndGivesNoIds) {
  const auto tokenizer = With("/pre_tokenizer/pretokenizers/0/pattern/Regex", "(a+)+b|.");
  ASSERT_THAT(tokenizer, IsOk());
  std::vector<int32_t> ids = {4};
  EXPECT_THAT((*tokenizer)->Append("xyz" + std::string(5000, 'a'), ids),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("\"(a+)+b|.\"")));
  EXPECT_EQ(ids, std::vector<int32_t>{4});
}

}  // namespace
}  // namespace hetero::data
