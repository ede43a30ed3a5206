#include "hetero/data/text/load_tokenizer.h"

#include <string>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/data/file/file.h"
#include "hetero/data/text/hugging_face_tokenizer.h"
#include "hetero/data/text/sentencepiece_tokenizer.h"

namespace hetero::data {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kJson = "tokenizer.json";
constexpr std::string_view kModel = "tokenizer.model";

absl::StatusOr<fs::path> FileOf(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) return path;
  for (const std::string_view name : {kJson, kModel}) {
    if (fs::exists(path / name, error)) return path / name;
  }
  return absl::NotFoundError(absl::StrCat(path.native(), " has neither ", kJson, " nor ", kModel));
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Tokenizer>> LoadTokenizer(const fs::path& path) {
  HETERO_ASSIGN_OR_RETURN(const fs::path file, FileOf(path));
  const fs::path extension = file.extension();
  if (extension != ".json" && extension != ".model") {
    return absl::InvalidArgumentError(
        absl::StrCat(file.native(),
                     ": its name must end with .json (Hugging Face) or .model "
                     "(SentencePiece)"));
  }
  HETERO_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(file));
  if (extension == ".json") {
    absl::StatusOr<std::shared_ptr<const Tokenizer>> tokenizer =
        HuggingFaceTokenizer::Create(bytes);
    HETERO_RETURN_IF_ERROR(tokenizer.status()).With(file.native());
    return tokenizer;
  }
  absl::StatusOr<std::shared_ptr<const Tokenizer>> tokenizer =
      SentencePieceTokenizer::Create(bytes);
  HETERO_RETURN_IF_ERROR(tokenizer.status()).With(file.native());
  return tokenizer;
}

}  // namespace hetero::data
