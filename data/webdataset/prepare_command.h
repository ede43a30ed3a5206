#ifndef HETERO_DATA_WEBDATASET_PREPARE_COMMAND_H_
#define HETERO_DATA_WEBDATASET_PREPARE_COMMAND_H_

#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "hetero/data/file/shell_word.h"

namespace hetero::data {

// What messages tell the user to run: it makes the indices of the data set at `root` again, or for
// the first time, and excludes the samples that cannot be read.
inline std::string PrepareCommand(const std::filesystem::path& root) {
  return absl::StrCat("bazel run //tools:dataset_check -- --prepare ",
                      ShellWord(root.lexically_normal().native()));
}

}  // namespace hetero::data

#endif  // HETERO_DATA_WEBDATASET_PREPARE_COMMAND_H_
