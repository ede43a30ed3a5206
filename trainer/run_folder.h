#ifndef HETERO_TRAINER_RUN_FOLDER_H_
#define HETERO_TRAINER_RUN_FOLDER_H_

// Where a run leaves its files: the event file, config.textproto, console.log. Every run has a
// folder of its own, so that no two runs share a curve; TensorBoard shows each below the folder
// that holds them all.

#include <filesystem>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace hetero {

inline constexpr std::string_view kResolvedConfigFile = "config.textproto";
inline constexpr std::string_view kConsoleLogFile = "console.log";

// Creates `parent` where it is missing and in it a folder that did not exist, whoever else creates
// some there: "2026-11-29_01-02-03" with .1, .2, ... appended if that name is taken. Returns its
// path. Errors: those of the file system, naming the path.
absl::StatusOr<std::filesystem::path> CreateRunFolder(const std::filesystem::path& parent,
                                                      absl::Time now = absl::Now(),
                                                      absl::TimeZone zone = absl::LocalTimeZone());

}  // namespace hetero

#endif  // HETERO_TRAINER_RUN_FOLDER_H_
