#ifndef HETERO_DATA_FILE_SCRATCH_FOLDER_H_
#define HETERO_DATA_FILE_SCRATCH_FOLDER_H_

// Files of fuzz targets, for what is read by its path.

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

#include "absl/log/check.h"

namespace hetero::data {

// A folder of this process in TEST_TMPDIR, else where temporary files go; it goes with its owner.
class ScratchFolder {
 public:
  ScratchFolder() {
    const char* const of_test = std::getenv("TEST_TMPDIR");
    path_ = of_test != nullptr ? of_test : std::filesystem::temp_directory_path();
    path_ /= "fuzz-" + std::to_string(getpid());
    std::filesystem::create_directories(path_);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  const std::filesystem::path& path() const { return path_; }

  // Makes the bytes those of a file, not flushed to the device.
  void Write(const std::filesystem::path& name, const uint8_t* data, size_t size) const {
    std::ofstream file(path_ / name, std::ios::binary);
    file.write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
    file.close();
    CHECK(file) << (path_ / name);
  }

 private:
  std::filesystem::path path_;
};

}  // namespace hetero::data

#endif  // HETERO_DATA_FILE_SCRATCH_FOLDER_H_
