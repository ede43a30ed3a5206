// Writes the recipes of the table in tools/recipes/production.cc and their scripts for Slurm.
//
//   bazel run //tools:recipes -- $PWD/trainer/recipes

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/base/system_error.h"
#include "hetero/tools/recipes/production.h"
#include "hetero/tools/tool_main.h"

namespace hetero {
namespace {

constexpr std::string_view kUsage =
    "Writes NAME.textproto of every production recipe into FOLDER, and NAME.sbatch into its "
    "folder\n"
    "slurm.\n\n"
    "  recipes FOLDER";

absl::Status Write(const std::filesystem::path& path, const std::string& text) {
  errno = 0;
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (file) return absl::OkStatus();
  return SystemError(errno != 0 ? errno : EIO, absl::StrCat("cannot write ", path.native()));
}

absl::Status Main(std::span<char* const> arguments) {
  if (arguments.size() != 1) return absl::InvalidArgumentError(kUsage);
  if (std::string_view(arguments[0]) == "--help") {
    std::printf("%s\n", std::string(kUsage).c_str());
    return absl::OkStatus();
  }
  const std::filesystem::path folder = arguments[0];
  std::error_code code;
  std::filesystem::create_directories(folder / "slurm", code);
  if (code) return SystemError(code.value(), absl::StrCat("cannot make ", folder.native()));
  for (const ProductionShape& shape : ProductionShapes()) {
    HETERO_RETURN_IF_ERROR(
        Write(folder / absl::StrCat(shape.name, ".textproto"), RecipeText(shape)));
    HETERO_RETURN_IF_ERROR(
        Write(folder / "slurm" / absl::StrCat(shape.name, ".sbatch"), SlurmScript(shape)));
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace hetero

int main(int argc, char** argv) {
  return hetero::ToolMain([&] { return hetero::Main(std::span(argv, argc).subspan(1)); });
}
