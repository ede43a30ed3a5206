#ifndef HETERO_DATA_FILE_TEST_FOLDER_H_
#define HETERO_DATA_FILE_TEST_FOLDER_H_

#include <filesystem>
#include <string_view>

#include "gtest/gtest.h"

namespace hetero::data {

// An empty folder of that name for the running test.
inline std::filesystem::path FreshFolder(std::string_view name) {
  const std::filesystem::path folder = std::filesystem::path(::testing::TempDir()) / name;
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  return folder;
}

}  // namespace hetero::data

#endif  // HETERO_DATA_FILE_TEST_FOLDER_H_
