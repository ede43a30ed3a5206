// Any bytes as the index of a tar: they are the offsets that they say, and a shard with them gives
// samples of the tar or errors.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/data/file/file.h"
#include "hetero/data/file/scratch_folder.h"
#include "hetero/data/tar/index.h"
#include "hetero/data/tar/shard.h"
#include "hetero/data/tar/writer.h"

namespace hetero::data {
namespace {

// A tar with three samples, an ignored member and one that begins with a pax header.
const std::string& Tar() {
  static const std::string& tar = *[] {
    const ScratchFolder folder;
    const std::filesystem::path path = folder.path() / "a.tar";
    TarWriter writer = TarWriter::Create(path).value();
    for (const char* name : {"a.txt", "a.json", "__meta__/x", "b.txt"}) {
      CHECK_OK(writer.Add(name, "payload"));
    }
    CHECK_OK(writer.Add(std::string(150, 'c') + ".txt", ""));
    CHECK_OK(writer.Close());
    return new std::string(ReadFile(path).value());
  }();
  return tar;
}

}  // namespace
}  // namespace hetero::data

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hetero::data;  // NOLINT: the function lives outside the namespace
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const absl::StatusOr<std::vector<uint64_t>> index = ParseTarIndex(bytes);
  if (!index.ok()) return 0;
  CHECK_EQ(FormatTarIndex(*index), bytes);
  const absl::StatusOr<std::unique_ptr<TarShard>> shard =
      TarShard::Create(std::make_unique<MemoryFile>(Tar()), *index, "a.tar", "a.tar");
  CHECK(shard.ok() || absl::IsDataLoss(shard.status())) << shard.status();
  if (!shard.ok()) return 0;
  CHECK_OK(
      CheckShard(MemoryFile(Tar()), MemoryFile(bytes), "a.tar", "a.tar", (*shard)->num_samples()));
  RawSample sample;
  for (int64_t i = 0; i < (*shard)->num_samples(); ++i) {
    const absl::Status read = (*shard)->Read(i, sample);
    CHECK(read.ok() || absl::IsDataLoss(read)) << read;
    if (!read.ok()) continue;
    CHECK(!sample.parts.empty());
    std::string alone;
    for (const RawSample::Part& part : sample.parts) {
      CHECK(*(*shard)->ReadMember(i, sample.key, part.extension, alone));
      CHECK_EQ(alone, part.bytes);
    }
  }
  return 0;
}
