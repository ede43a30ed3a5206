#ifndef HETERO_TRAINER_RUN_FOLDER_H_
#define HETERO_TRAINER_RUN_FOLDER_H_

// Where a run leaves its files: the event file, config.textproto, console.log. Every run has a
// folder of its own, so that no two runs share a curve; TensorBoard shows each below the folder
// that holds them all.

#include <filesystem>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "hetero/trainer/made_folders.h"

namespace hetero {

inline constexpr std::string_view kResolvedConfigFile = "config.textproto";
inline constexpr std::string_view kConsoleLogFile = "console.log";

// Unless kept, its destruction takes the folder away again, with what is in it and with the folders
// that were made for it: a run that never started leaves nothing.
class RunFolder {
 public:
  // Creates `parent` where it is missing and in it a folder that did not exist, whoever else
  // creates some there: "2026-11-29_01-02-03" with .1, .2, ... appended if that name is taken.
  // Errors: those of the file system, naming the path.
  static absl::StatusOr<RunFolder> Create(const std::filesystem::path& parent,
                                          absl::Time now = absl::Now(),
                                          absl::TimeZone zone = absl::LocalTimeZone());

  RunFolder(RunFolder&& other) noexcept
      : parents_(std::move(other.parents_)),
        path_(std::move(other.path_)),
        kept_(std::exchange(other.kept_, true)) {}
  RunFolder& operator=(RunFolder&&) = delete;
  ~RunFolder();

  const std::filesystem::path& path() const { return path_; }

  void Keep();

 private:
  RunFolder(MadeFolders parents, std::filesystem::path path)
      : parents_(std::move(parents)), path_(std::move(path)) {}

  MadeFolders parents_;
  std::filesystem::path path_;
  bool kept_ = false;
};

}  // namespace hetero

#endif  // HETERO_TRAINER_RUN_FOLDER_H_
