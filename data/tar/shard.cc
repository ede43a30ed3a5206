#include "hetero/data/tar/shard.h"

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "hetero/base/status.h"
#include "hetero/data/tar/archive_end.h"
#include "hetero/data/tar/compression.h"
#include "hetero/data/tar/format.h"
#include "hetero/data/tar/index.h"
#include "hetero/data/tar/scanner.h"

namespace hetero::data {
namespace {

constexpr std::string_view kRemedy = "copy it again from its source or prepare the data set again";

absl::StatusOr<std::unique_ptr<RandomAccessFile>> OpenPart(const std::filesystem::path& path,
                                                           std::string_view what,
                                                           std::string_view shard) {
  absl::StatusOr<std::unique_ptr<RandomAccessFile>> file = OpenFile(path);
  if (absl::IsNotFound(file.status())) {
    return absl::NotFoundError(absl::StrFormat("the %s of shard %s is missing: no file %s; %s",
                                               what, shard, path.native(), kRemedy));
  }
  HETERO_RETURN_IF_ERROR(file.status()).With(absl::StrCat("shard ", shard));
  return file;
}

absl::Status CheckLength(std::string_view shard, const std::filesystem::path& path, uint64_t size,
                         uint64_t end) {
  if (size >= end) return absl::OkStatus();
  return absl::DataLossError(absl::StrFormat(
      "shard %s is cut short, or its index is of another tar: %s has %d bytes, the index ends at "
      "%d; %s",
      shard, path.native(), size, end, kRemedy));
}

// Whether the archive ends where its index does.
absl::Status CheckEnd(const RandomAccessFile& tar, std::string_view shard,
                      const std::filesystem::path& path, uint64_t end) {
  const std::filesystem::path index_path = TarIndexPath(path);
  if (end % kTarBlockBytes != 0) {
    return absl::DataLossError(absl::StrFormat(
        "shard %s: the last entry of index %s is %d, which is no multiple of 512; prepare the data "
        "set again",
        shard, index_path.native(), end));
  }
  HETERO_RETURN_IF_ERROR(CheckUncompressed(tar, shard));
  HETERO_RETURN_IF_ERROR(CheckLength(shard, path, tar.size(), end));
  std::array<char, kTarBlockBytes> block = {};
  const size_t count = std::min<uint64_t>(block.size(), tar.size() - end);
  HETERO_RETURN_IF_ERROR(tar.Read(end, std::span(block).first(count)));
  if (!IsZeroBlock(block)) {
    return absl::DataLossError(absl::StrFormat(
        "shard %s goes on at byte %d, where its index %s ends: the index was made for another tar; "
        "prepare the data set again",
        shard, end, index_path.native()));
  }
  return CheckArchiveEnd(tar, shard, end);
}

// Whether an index entry's members fill it. Precondition: `scanner` is at its end.
absl::Status CheckEntryEnd(const TarScanner& scanner, std::string_view shard, uint64_t end) {
  if (scanner.end_offset() == end) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrFormat("shard %s: the archive ends at byte %d, the index entry at byte %d", shard,
                      scanner.end_offset(), end));
}

// A file up to `end`.
class FileStart : public RandomAccessFile {
 public:
  FileStart(const RandomAccessFile& file, uint64_t end) : file_(file), end_(end) {}

  uint64_t size() const override { return end_; }
  absl::Status Read(uint64_t offset, std::span<char> out) const override {
    return file_.Read(offset, out);
  }

 private:
  const RandomAccessFile& file_;
  uint64_t end_;
};

}  // namespace

const RawSample::Part* RawSample::Find(std::string_view extension) const {
  const auto part = std::find_if(parts.begin(), parts.end(),
                                 [&](const Part& p) { return p.extension == extension; });
  return part == parts.end() ? nullptr : &*part;
}

std::string RawSample::Name() const { return absl::StrCat(shard, "/", key); }

absl::Status ParseSample(std::string_view shard, uint64_t base, RawSample& out) {
  out.shard = shard;
  out.key.clear();
  out.parts.clear();
  const MemoryFile file(out.buffer, base);
  TarScanner scanner(file, shard, base, "index entry");
  TarMember member;
  while (true) {
    HETERO_ASSIGN_OR_RETURN(const bool found, scanner.Next(member));
    if (!found) break;
    const std::optional<MemberName> name = SplitMemberName(member.name);
    if (!name.has_value()) continue;
    if (out.parts.empty()) {
      out.key = name->base;
    } else if (out.key != name->base) {
      return absl::DataLossError(
          absl::StrFormat("shard %s, member \"%s\" at byte %d: it follows sample \"%s\" inside one "
                          "index entry",
                          shard, member.name, member.offset, out.key));
    }
    auto part = std::find_if(out.parts.begin(), out.parts.end(), [&](const RawSample::Part& p) {
      return p.extension == name->extension;
    });
    if (part == out.parts.end()) {
      part = out.parts.insert(
          part, RawSample::Part{.extension = std::string(name->extension), .bytes = {}});
    }
    part->bytes =
        std::string_view(out.buffer).substr(member.payload_offset - base, member.payload_size);
  }
  if (out.parts.empty()) {
    return absl::DataLossError(absl::StrFormat("shard %s: no sample at byte %d", shard, base));
  }
  return CheckEntryEnd(scanner, shard, file.size());
}

absl::StatusOr<std::unique_ptr<TarShard>> TarShard::Open(const std::filesystem::path& path,
                                                         std::string_view name) {
  HETERO_ASSIGN_OR_RETURN(std::unique_ptr<RandomAccessFile> file, OpenPart(path, "tar file", name));
  HETERO_RETURN_IF_ERROR(OpenPart(TarIndexPath(path), "index", name));
  absl::StatusOr<std::vector<uint64_t>> index = ReadTarIndex(path);
  HETERO_RETURN_IF_ERROR(index.status()).With(absl::StrCat("shard ", name));
  return Create(std::move(file), *std::move(index), path, name);
}

absl::StatusOr<std::unique_ptr<TarShard>> TarShard::Create(std::unique_ptr<RandomAccessFile> tar,
                                                           std::vector<uint64_t> index,
                                                           const std::filesystem::path& path,
                                                           std::string_view name) {
  HETERO_RETURN_IF_ERROR(CheckEnd(*tar, name, path, index.back()));
  return std::unique_ptr<TarShard>(new TarShard(name, std::move(tar), std::move(index)));
}

absl::Status TarShard::Read(int64_t i, RawSample& out) const {
  const uint64_t begin = index_[i];
  out.buffer.resize(index_[i + 1] - begin);
  HETERO_RETURN_IF_ERROR(file_->Read(begin, out.buffer))
      .With(absl::StrCat("shard ", name_, ", sample ", i));
  return AtSample(i, ParseSample(name_, begin, out));
}

absl::StatusOr<bool> TarShard::ReadMember(int64_t i, std::string_view key,
                                          std::string_view extension, std::string& out) const {
  const FileStart sample(*file_, index_[i + 1]);
  TarScanner scanner(sample, name_, index_[i], "index entry");
  TarMember member;
  std::optional<TarMember> found;
  while (true) {
    const absl::StatusOr<bool> is_there = scanner.Next(member);
    if (!is_there.ok()) return AtSample(i, is_there.status());
    if (!*is_there) break;
    const std::optional<MemberName> name = SplitMemberName(member.name);
    if (!name.has_value()) continue;
    if (name->base != key) {
      return AtSample(
          i, absl::DataLossError(absl::StrFormat(
                 "shard %s, member \"%s\" at byte %d: it is looked up for sample \"%s\"", name_,
                 member.name, member.offset, key)));
    }
    if (name->extension == extension) found = member;
  }
  const absl::Status ended = CheckEntryEnd(scanner, name_, sample.size());
  if (!ended.ok()) return AtSample(i, ended);
  if (!found.has_value()) return false;
  out.resize(found->payload_size);
  HETERO_RETURN_IF_ERROR(file_->Read(found->payload_offset, out))
      .With(absl::StrCat("shard ", name_, ", member ", found->name));
  return true;
}

absl::Status TarShard::AtSample(int64_t i, const absl::Status& status) const {
  if (!absl::IsDataLoss(status)) return status;
  return absl::DataLossError(absl::StrFormat(
      "%s; sample %d lies at bytes [%d, %d) by the index: the tar was changed after "
      "its index was made, or is damaged; prepare the data set again",
      status.message(), i, index_[i], index_[i + 1]));
}

absl::Status CheckShard(const std::filesystem::path& path, std::string_view name,
                        int64_t num_samples) {
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<RandomAccessFile> tar,
                          OpenPart(path, "tar file", name));
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<RandomAccessFile> index,
                          OpenPart(TarIndexPath(path), "index", name));
  return CheckShard(*tar, *index, path, name, num_samples);
}

absl::Status CheckShard(const RandomAccessFile& tar, const RandomAccessFile& index,
                        const std::filesystem::path& path, std::string_view name,
                        int64_t num_samples) {
  const uint64_t expected = sizeof(uint64_t) * (static_cast<uint64_t>(num_samples) + 1);
  if (index.size() != expected) {
    return absl::DataLossError(absl::StrFormat(
        "shard %s: index %s has %d bytes, %d samples need %d; prepare the data set again", name,
        TarIndexPath(path).native(), index.size(), num_samples, expected));
  }
  uint64_t end = 0;
  HETERO_RETURN_IF_ERROR(
      index.Read(expected - sizeof end, std::span(reinterpret_cast<char*>(&end), sizeof end)));
  return CheckEnd(tar, name, path, end);
}

}  // namespace hetero::data
