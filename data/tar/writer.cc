#include "hetero/data/tar/writer.h"

#include <array>
#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "hetero/base/rounding.h"
#include "hetero/base/status.h"
#include "hetero/data/tar/format.h"

namespace hetero::data {
namespace {

constexpr size_t kLongestPlainName = 100;
constexpr uint64_t kLargestPlainPayload = (uint64_t{1} << 33) - 1;

}  // namespace

absl::StatusOr<TarWriter> TarWriter::Create(const std::filesystem::path& path) {
  HETERO_ASSIGN_OR_RETURN(FileWriter file, FileWriter::Create(path));
  return TarWriter(std::move(file));
}

absl::Status TarWriter::AddMember(std::string_view name, std::string_view payload, char type,
                                  uint64_t size) {
  std::array<char, kTarBlockBytes> block;
  FormatTarHeader(name, size, type, block);
  HETERO_RETURN_IF_ERROR(file_.Write(std::string_view(block.data(), block.size())));
  HETERO_RETURN_IF_ERROR(file_.Write(payload));
  static constexpr std::array<char, kTarBlockBytes> kZeros = {};
  return file_.Write(
      std::string_view(kZeros.data(), TarPaddedSize(payload.size()) - payload.size()));
}

absl::Status TarWriter::Add(std::string_view name, std::string_view payload) {
  std::string records;
  if (name.size() > kLongestPlainName) records += FormatPaxRecord("path", name);
  if (payload.size() > kLargestPlainPayload) {
    records += FormatPaxRecord("size", absl::StrCat(payload.size()));
  }
  const std::string_view plain_name = name.substr(0, kLongestPlainName);
  if (!records.empty()) {
    HETERO_RETURN_IF_ERROR(AddMember("././@PaxHeader", records, 'x', records.size()));
  }
  return AddMember(plain_name, payload, '0', payload.size());
}

absl::Status TarWriter::Close() {
  const uint64_t content = file_.position() + 2 * kTarBlockBytes;
  const uint64_t total = RoundUp(content, kTarRecordBytes);
  HETERO_RETURN_IF_ERROR(file_.Write(std::string(total - file_.position(), '\0')));
  return file_.Close();
}

}  // namespace hetero::data
