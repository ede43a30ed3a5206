#include "hetero/data/webdataset/prepare_command.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "hetero/data/file/shell_word.h"

namespace hetero::data {

std::string PrepareCommand(const std::filesystem::path& root, std::string_view media) {
  const std::string flag =
      media.empty() ? "" : absl::StrCat("--media_source=", ShellWord(media), " ");
  return absl::StrCat("bazel run //tools:dataset_check -- --prepare ", flag,
                      ShellWord(root.lexically_normal().native()));
}

absl::Status WithPrepareCommand(const absl::Status& status, const std::filesystem::path& root,
                                std::string_view media) {
  if (!absl::IsDataLoss(status)) return status;
  const bool is_told_to = absl::EndsWith(status.message(), "prepare the data set again");
  return absl::DataLossError(
      absl::StrCat(status.message(),
                   is_told_to ? ": " : "; to prepare it again: ", PrepareCommand(root, media)));
}

}  // namespace hetero::data
