#ifndef HETERO_TRAINER_MADE_FOLDERS_H_
#define HETERO_TRAINER_MADE_FOLDERS_H_

#include <filesystem>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace hetero {

// The folders that were missing on the way to a folder. Unless kept, its destruction takes away
// again those of them that are empty.
class MadeFolders {
 public:
  // Errors: those of the file system, naming the path.
  static absl::StatusOr<MadeFolders> Create(const std::filesystem::path& folder);

  MadeFolders(MadeFolders&& other) noexcept : made_(std::exchange(other.made_, {})) {}
  MadeFolders& operator=(MadeFolders&&) = delete;
  ~MadeFolders();

  void Keep() { made_.clear(); }

 private:
  MadeFolders() = default;

  std::vector<std::filesystem::path> made_;  // the innermost first
};

}  // namespace hetero

#endif  // HETERO_TRAINER_MADE_FOLDERS_H_
