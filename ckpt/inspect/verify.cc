#include "hetero/ckpt/inspect/verify.h"

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/format/crc32.h"
#include "hetero/ckpt/format/manifest.h"
#include "hetero/ckpt/publish/completeness.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

struct FreeMemory {
  void operator()(std::byte* memory) const { std::free(memory); }
};
using Memory = std::unique_ptr<std::byte, FreeMemory>;

// A run of bytes of a file with checksums of its own.
struct Region {
  int64_t offset = 0;
  int64_t bytes = 0;
  uint32_t crc32 = 0;
  std::string name;                       // of a tensor or object
  std::string place;                      // within it, "chunk 1, "; empty for an object
  std::span<const uint32_t> blocks = {};  // of an object none
};

std::string Mismatch(int64_t bytes, int64_t offset, uint32_t actual, uint32_t expected) {
  return absl::StrFormat("%d bytes at %d: crc32 is %08x, expected %08x", bytes, offset, actual,
                         expected);
}

// The regions of each file of a manifest, by offset.
std::vector<std::vector<Region>> RegionsOf(const Manifest& manifest, const BlockSums* sums) {
  std::vector<std::vector<Region>> regions(manifest.files.size());
  for (const auto& [key, tensor] : manifest.tensors) {
    for (size_t i = 0; i < tensor.chunks.size(); ++i) {
      const ManifestChunk& chunk = tensor.chunks[i];
      regions[chunk.file].push_back(
          {.offset = chunk.offset,
           .bytes = chunk.bytes,
           .crc32 = chunk.crc32,
           .name = absl::StrCat("tensor \"", key, "\""),
           .place = absl::StrCat("chunk ", i, ", "),
           .blocks = sums == nullptr ? std::span<const uint32_t>() : sums->Of(key, i)});
    }
  }
  for (const auto& [name, object] : manifest.objects) {
    regions[object.file].push_back({.offset = object.offset,
                                    .bytes = object.bytes,
                                    .crc32 = object.crc32,
                                    .name = absl::StrCat("object \"", name, "\"")});
  }
  for (std::vector<Region>& of_file : regions) {
    std::stable_sort(of_file.begin(), of_file.end(),
                     [](const Region& a, const Region& b) { return a.offset < b.offset; });
  }
  return regions;
}

class Verifier {
 public:
  Verifier(Storage& storage, fs::path directory, const VerifyOptions& options)
      : storage_(storage),
        directory_(std::move(directory)),
        options_(options),
        memory_(static_cast<std::byte*>(std::aligned_alloc(kDirectAlignment, kBlockBytes))) {}

  absl::StatusOr<VerifyReport> Run();
  absl::Status ReadBack(int64_t part, int64_t parts);

 private:
  void Tell(std::string_view file, std::string_view name, std::string what) {
    report_.damages.push_back(
        {.file = std::string(file), .name = std::string(name), .what = std::move(what)});
  }

  absl::Status VerifyFile(const ManifestFile& file, const std::vector<Region>& regions);
  absl::StatusOr<uint32_t> Checksum(const ReadableFile& file, int64_t offset, int64_t bytes);
  absl::StatusOr<uint32_t> ChecksumRegion(const ReadableFile& file, std::string_view name,
                                          const Region& region);

  Storage& storage_;
  const fs::path directory_;
  const VerifyOptions options_;
  Memory memory_;
  int64_t block_bytes_ = kBlockBytes;
  VerifyReport report_;
};

// Of a run of bytes. Errors: those of reading and of `progress`.
absl::StatusOr<uint32_t> Verifier::Checksum(const ReadableFile& file, int64_t offset,
                                            int64_t bytes) {
  uint32_t crc = 0;
  for (int64_t done = 0; done < bytes;) {
    const int64_t size = std::min(bytes - done, kBlockBytes);
    const std::span<std::byte> piece(memory_.get(), size);
    HETERO_RETURN_IF_ERROR(file.Read(offset + done, piece));
    crc = Crc32(piece, crc);
    done += size;
    report_.bytes += size;
    if (options_.progress) {
      HETERO_RETURN_IF_ERROR(options_.progress(report_.bytes));
    }
  }
  return crc;
}

// Of a region, whose blocks it compares on the way.
absl::StatusOr<uint32_t> Verifier::ChecksumRegion(const ReadableFile& file, std::string_view name,
                                                  const Region& region) {
  uint32_t crc = 0;
  bool told = false;
  const int64_t step = region.blocks.empty() ? std::max<int64_t>(region.bytes, 1) : block_bytes_;
  for (int64_t done = 0; done < region.bytes; done += step) {
    const int64_t size = std::min(step, region.bytes - done);
    const int64_t at = region.offset + done;
    HETERO_ASSIGN_OR_RETURN(const uint32_t block, Checksum(file, at, size));
    const size_t index = done / step;
    if (index < region.blocks.size() && block != region.blocks[index]) {
      told = true;
      Tell(name, region.name,
           absl::StrCat(region.place, "block ", index, ", ",
                        Mismatch(size, at, block, region.blocks[index])));
    }
    crc = Crc32Combine(crc, block, size);
  }
  if (crc != region.crc32 && !told) {
    Tell(name, region.name,
         absl::StrCat(region.place, Mismatch(region.bytes, region.offset, crc, region.crc32)));
  }
  return crc;
}

absl::Status Verifier::VerifyFile(const ManifestFile& listed, const std::vector<Region>& regions) {
  const std::string first = regions.empty() ? "" : regions[0].name;
  const absl::StatusOr<std::unique_ptr<ReadableFile>> opened =
      storage_.Open(directory_ / listed.name);
  if (!opened.ok()) {
    Tell(listed.name, first,
         absl::IsNotFound(opened.status()) ? "is missing" : std::string(opened.status().message()));
    return absl::OkStatus();
  }
  const ReadableFile& file = **opened;
  if (file.size() != listed.bytes) {
    Tell(listed.name, first, absl::StrCat("has ", file.size(), " bytes, expected ", listed.bytes));
    return absl::OkStatus();
  }
  const size_t damages = report_.damages.size();
  uint32_t crc = 0;
  int64_t at = 0;
  const auto add = [&](uint32_t sum, int64_t bytes) {
    crc = Crc32Combine(crc, sum, bytes);
    at += bytes;
  };
  const auto read = [&]() -> absl::Status {
    for (const Region& region : regions) {
      HETERO_ASSIGN_OR_RETURN(const uint32_t gap, Checksum(file, at, region.offset - at));
      add(gap, region.offset - at);
      HETERO_ASSIGN_OR_RETURN(const uint32_t sum, ChecksumRegion(file, listed.name, region));
      add(sum, region.bytes);
    }
    HETERO_ASSIGN_OR_RETURN(const uint32_t rest, Checksum(file, at, listed.bytes - at));
    add(rest, listed.bytes - at);
    return absl::OkStatus();
  };
  if (const absl::Status status = read(); !status.ok()) {
    if (absl::IsCancelled(status)) return status;
    Tell(listed.name, "", std::string(status.message()));
    return absl::OkStatus();
  }
  ++report_.files;
  if (crc != listed.crc32 && report_.damages.size() == damages) {
    Tell(listed.name, "",
         absl::StrCat(regions.empty() ? "" : "outside of tensors and objects, ",
                      Mismatch(listed.bytes, 0, crc, listed.crc32)));
  }
  return absl::OkStatus();
}

absl::StatusOr<VerifyReport> Verifier::Run() {
  if (!storage_.Exists(directory_ / kManifestName) && !storage_.Exists(directory_ / kCommitName)) {
    return absl::NotFoundError(absl::StrCat(
        directory_.native(), " is no checkpoint of this program: it has no ", kManifestName));
  }
  const absl::StatusOr<std::string> text = ReadCommittedManifest(storage_, directory_);
  if (!text.ok()) {
    Tell(storage_.Exists(directory_ / kCommitName) ? kManifestName : kCommitName, "",
         std::string(text.status().message()));
    return std::move(report_);
  }
  const absl::StatusOr<Manifest> manifest = ParseManifest(*text);
  if (!manifest.ok()) {
    Tell(kManifestName, "", std::string(manifest.status().message()));
    return std::move(report_);
  }
  report_.tensors = std::ssize(manifest->tensors);
  report_.objects = std::ssize(manifest->objects);
  block_bytes_ = manifest->block_bytes;

  // A damaged list of sums would name tensors that are whole.
  const auto sums_file =
      std::find_if(manifest->files.begin(), manifest->files.end(),
                   [](const ManifestFile& file) { return file.name == kBlockSumsName; });
  const absl::StatusOr<std::string> sums_text = ReadText(storage_, directory_ / kBlockSumsName);
  std::optional<BlockSums> sums;
  if (sums_text.ok() && sums_file != manifest->files.end() &&
      Crc32(AsBytes(*sums_text)) == sums_file->crc32) {
    absl::StatusOr<BlockSums> parsed = BlockSums::Parse(*manifest, *sums_text);
    if (!parsed.ok()) Tell(kBlockSumsName, "", std::string(parsed.status().message()));
    if (parsed.ok()) sums = *std::move(parsed);
  }
  const std::vector<std::vector<Region>> regions =
      RegionsOf(*manifest, sums.has_value() ? &*sums : nullptr);
  std::set<std::string> listed = {std::string(kManifestName), std::string(kCommitName)};
  for (size_t i = 0; i < manifest->files.size(); ++i) {
    listed.insert(manifest->files[i].name);
    HETERO_RETURN_IF_ERROR(VerifyFile(manifest->files[i], regions[i]));
  }
  HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> names, storage_.List(directory_));
  for (const std::string& name : names) {
    if (!listed.contains(name)) Tell(name, "", "is not in the manifest");
  }
  return std::move(report_);
}

absl::Status Verifier::ReadBack(int64_t part, int64_t parts) {
  HETERO_ASSIGN_OR_RETURN(const std::string text, ReadText(storage_, directory_ / kManifestName));
  const absl::StatusOr<Manifest> manifest = ParseManifest(text);
  HETERO_RETURN_IF_ERROR(manifest).With((directory_ / kManifestName).native());
  const std::vector<std::vector<Region>> regions = RegionsOf(*manifest, nullptr);
  int64_t number = 0;
  for (size_t i = 0; i < regions.size(); ++i) {
    std::unique_ptr<ReadableFile> file;
    for (const Region& region : regions[i]) {
      if (number++ % parts != part) continue;
      const std::string& name = manifest->files[i].name;
      if (file == nullptr) {
        HETERO_ASSIGN_OR_RETURN(file, storage_.Open(directory_ / name));
      }
      HETERO_RETURN_IF_ERROR(ChecksumRegion(*file, name, region)).With(region.name);
      if (!report_.damages.empty()) {
        return absl::DataLossError((directory_ / report_.damages[0].ToString()).native());
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::string Damage::ToString() const {
  return absl::StrCat(file, name.empty() ? "" : absl::StrCat(", ", name), ": ", what);
}

absl::StatusOr<VerifyReport> VerifyCheckpoint(Storage& storage, const fs::path& directory,
                                              const VerifyOptions& options) {
  return Verifier(storage, directory, options).Run();
}

absl::Status ReadBackPart(Storage& storage, const fs::path& directory, int64_t part,
                          int64_t parts) {
  return Verifier(storage, directory, {}).ReadBack(part, parts);
}

}  // namespace hetero
