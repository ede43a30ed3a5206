#ifndef HETERO_DATA_WEBDATASET_PREPARE_COMMAND_H_
#define HETERO_DATA_WEBDATASET_PREPARE_COMMAND_H_

// What messages about a data set tell the user to run.

#include <filesystem>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace hetero::data {

// The command that makes the indices of the data set at `root` again, or for the first time, and
// excludes the samples that cannot be read. `media`: a media source, as its reference says.
std::string PrepareCommand(const std::filesystem::path& root, std::string_view media = {});

// `status` with that command behind its message when it is DATA_LOSS, else unchanged.
absl::Status WithPrepareCommand(const absl::Status& status, const std::filesystem::path& root,
                                std::string_view media = {});

}  // namespace hetero::data

#endif  // HETERO_DATA_WEBDATASET_PREPARE_COMMAND_H_
