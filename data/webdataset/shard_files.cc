#include "hetero/data/webdataset/shard_files.h"

#include <algorithm>
#include <iterator>
#include <string_view>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "hetero/base/system_error.h"
#include "hetero/data/file/shell_word.h"

namespace hetero::data {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kCompressedEndings[] = {".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst",
                                                   ".tar.lz4"};

std::vector<std::string> Sorted(std::vector<fs::path> paths) {
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> names;
  names.reserve(paths.size());
  for (const fs::path& path : paths) names.push_back(path.generic_string());
  return names;
}

}  // namespace

absl::StatusOr<ShardFiles> FindShards(const fs::path& root) {
  std::error_code error;
  std::vector<fs::path> shards;
  std::vector<fs::path> compressed;
  fs::recursive_directory_iterator entry(root, error);
  for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    const fs::path name = entry->path().lexically_relative(root);
    const std::string last = entry->path().filename().native();
    if (last.starts_with('.')) {
      entry.disable_recursion_pending();
    } else if (last.ends_with(".tgz")) {
      const std::string tgz = ShellWord(name.native());
      const std::string tar = ShellWord(fs::path(name).replace_extension(".tar").native());
      return absl::UnimplementedError(
          absl::StrFormat("%s is compressed and has no random access; in the data set's folder, "
                          "unpack it: gzip -dc < %s > %s && rm %s",
                          entry->path().native(), tgz, tar, tgz));
    } else if (last.ends_with(".tar")) {
      shards.push_back(name);
    } else if (std::any_of(std::begin(kCompressedEndings), std::end(kCompressedEndings),
                           [&](std::string_view ending) { return last.ends_with(ending); })) {
      compressed.push_back(name);
    }
  }
  if (error) return SystemError(error.value(), absl::StrCat("cannot list ", root.native()));
  ShardFiles files = {.shards = Sorted(std::move(shards)),
                      .compressed = Sorted(std::move(compressed))};
  if (files.shards.empty()) {
    return absl::NotFoundError(absl::StrCat(
        root.native(), " holds no .tar file",
        files.compressed.empty()
            ? ""
            : absl::StrCat("; unpack ", files.compressed[0], " and the like to .tar files")));
  }
  return files;
}

}  // namespace hetero::data
