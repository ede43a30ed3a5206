#include "hetero/ckpt/publish/best.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/publish/names.h"
#include "nlohmann/json.hpp"

namespace hetero {
namespace {

constexpr char kIteration[] = "iteration";
constexpr char kLoss[] = "loss";

// More is no such text.
constexpr int64_t kMostBytes = 4096;

}  // namespace

absl::StatusOr<std::optional<BestCheckpoint>> ReadBest(Storage& storage,
                                                       const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / kBestName;
  const absl::StatusOr<std::string> text = ReadText(storage, path, kMostBytes);
  if (absl::IsNotFound(text.status())) return std::nullopt;
  HETERO_RETURN_IF_ERROR(text.status());
  const nlohmann::json json = nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains(kIteration) || !json.contains(kLoss) ||
      !json[kIteration].is_number_integer() || json[kIteration] < 0 || !json[kLoss].is_number()) {
    return absl::DataLossError(
        absl::StrCat(path.native(), " names no checkpoint; delete it to forget which was best"));
  }
  return BestCheckpoint{.iteration = json[kIteration].get<int64_t>(),
                        .loss = json[kLoss].get<double>()};
}

absl::Status WriteBest(Storage& storage, const std::filesystem::path& folder,
                       const BestCheckpoint& best) {
  const nlohmann::json json = {{kIteration, best.iteration}, {kLoss, best.loss}};
  return ReplaceText(storage, folder / kBestName, absl::StrCat(json.dump(), "\n"));
}

}  // namespace hetero
