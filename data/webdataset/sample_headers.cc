#include "hetero/data/webdataset/sample_headers.h"

#include <bit>
#include <cstring>
#include <type_traits>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "hetero/base/fnv.h"
#include "hetero/data/image/codec.h"
#include "hetero/data/webdataset/field.h"

namespace hetero::data {
namespace {

static_assert(std::endian::native == std::endian::little, "files of headers are little endian");

constexpr std::string_view kMagic = "hetero sample headers 1\n";
constexpr size_t kEntryBytes = 16;
constexpr std::string_view kNameBegin = "sample_headers.";

uint64_t HashOf(const HeadersOrigin& origin) {
  std::string text =
      absl::StrCat(origin.index_id, "\n", origin.fields.image, "\n", origin.fields.caption, "\n");
  for (const auto& [name, count] : origin.shards) absl::StrAppend(&text, count, " ", name, "\n");
  return Fnv1a(text);
}

template <typename T>
void Append(std::string& bytes, T value) {
  static_assert(std::is_integral_v<T>);
  bytes.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

// Precondition: `bytes` has them.
template <typename T>
T Take(std::string_view& bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof(T));
  bytes.remove_prefix(sizeof(T));
  return value;
}

}  // namespace

SampleHeader HeaderOf(const RawSample& sample, const CaptioningFields& fields) {
  const absl::StatusOr<const RawSample::Part*> image = SelectPart(sample, fields.image);
  const absl::StatusOr<const RawSample::Part*> caption = SelectPart(sample, fields.caption);
  if (!image.ok() || !caption.ok()) return {};
  const absl::StatusOr<ImageSize> size = ProbeImage((*image)->bytes);
  if (!size.ok()) return {};
  return {.image = *size, .caption_bytes = static_cast<int64_t>((*caption)->bytes.size())};
}

std::filesystem::path HeadersFile(const std::filesystem::path& folder, std::string_view split) {
  std::string name(kNameBegin);
  for (const char c : split) {
    // What may not stand in a name, and what stands for it.
    const bool plain = absl::ascii_isalnum(c) || c == '-' || c == '_';
    absl::StrAppend(&name, plain ? std::string(1, c)
                                 : absl::StrFormat("%%%02x", static_cast<unsigned char>(c)));
  }
  return folder / name;
}

bool IsHeadersFile(const std::filesystem::path& name) {
  return name.native().starts_with(kNameBegin);
}

std::string FormatHeaders(const HeadersOrigin& origin, std::span<const SampleHeader> headers) {
  std::string bytes(kMagic);
  bytes.reserve(kMagic.size() + 3 * sizeof(uint64_t) + headers.size() * kEntryBytes);
  Append(bytes, HashOf(origin));
  Append(bytes, uint64_t{headers.size()});
  for (const SampleHeader& header : headers) {
    Append(bytes, static_cast<uint32_t>(header.image.height));
    Append(bytes, static_cast<uint32_t>(header.image.width));
    Append(bytes, static_cast<uint64_t>(header.caption_bytes));
  }
  Append(bytes, Fnv1a(bytes));
  return bytes;
}

absl::StatusOr<std::vector<SampleHeader>> ParseHeaders(std::string_view bytes,
                                                       const HeadersOrigin& origin) {
  if (!bytes.starts_with(kMagic)) {
    return absl::FailedPreconditionError("its first line is not that of this version");
  }
  const size_t least = kMagic.size() + 3 * sizeof(uint64_t);
  if (bytes.size() < least || (bytes.size() - least) % kEntryBytes != 0) {
    return absl::DataLossError(absl::StrCat(bytes.size(), " bytes are no whole number of entries"));
  }
  std::string_view sum = bytes.substr(bytes.size() - sizeof(uint64_t));
  const std::string_view summed = bytes.substr(0, bytes.size() - sizeof(uint64_t));
  if (Take<uint64_t>(sum) != Fnv1a(summed)) return absl::DataLossError("its sum does not fit");
  std::string_view rest = summed.substr(kMagic.size());
  if (Take<uint64_t>(rest) != HashOf(origin)) {
    return absl::FailedPreconditionError("it is of other shards, fields or another preparation");
  }
  if (Take<uint64_t>(rest) * kEntryBytes != rest.size()) {
    return absl::DataLossError("its number of samples does not fit its bytes");
  }
  std::vector<SampleHeader> headers;
  headers.reserve(rest.size() / kEntryBytes);
  while (!rest.empty()) {
    SampleHeader header;
    header.image.height = static_cast<int>(Take<uint32_t>(rest));
    header.image.width = static_cast<int>(Take<uint32_t>(rest));
    header.caption_bytes = static_cast<int64_t>(Take<uint64_t>(rest));
    headers.push_back(header);
  }
  return headers;
}

}  // namespace hetero::data
