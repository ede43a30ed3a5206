#include "hetero/data/tar/repack_command.h"

#include "absl/strings/str_cat.h"
#include "hetero/data/file/shell_word.h"

namespace hetero::data {

std::string RepackCommand(std::string_view shard) {
  const std::string tar = ShellWord(shard);
  const std::string folder = ShellWord(absl::StrCat(shard, ".unpacked"));
  // -i reads on behind an end marker, -k never replaces a member by another of its name.
  return absl::StrCat("mkdir ", folder, " && tar -xikf ", tar, " -C ", folder, " && find ", folder,
                      R"( -type f -printf '%P\n' | LC_ALL=C sort | tar -cf )", tar, " -C ", folder,
                      " -T - && rm -r ", folder);
}

}  // namespace hetero::data
