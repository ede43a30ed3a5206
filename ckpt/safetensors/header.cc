#include "hetero/ckpt/safetensors/header.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <tuple>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hetero/base/rounding.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/format/strict_json.h"

namespace hetero {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kMetadata = "__metadata__";

absl::Status CheckFields(const Json& entry) {
  if (!entry.is_object()) {
    return absl::DataLossError(absl::StrCat("must be an object, is ", Shortened(entry)));
  }
  for (const char* field : {"dtype", "shape", "data_offsets"}) {
    if (!entry.contains(field)) return absl::DataLossError(absl::StrCat("has no ", field));
  }
  if (entry.size() == 3) return absl::OkStatus();
  for (const auto& [field, value] : entry.items()) {
    if (field == "dtype" || field == "shape" || field == "data_offsets") continue;
    return absl::DataLossError(
        absl::StrCat("has the field ", Shortened(field), "; only dtype, shape, data_offsets"));
  }
  return absl::OkStatus();
}

absl::StatusOr<SafetensorsTensor> ParseTensor(const std::string& name, const Json& entry) {
  HETERO_RETURN_IF_ERROR(CheckFields(entry));
  SafetensorsTensor tensor = {.name = name};
  const Json& type = entry["dtype"];
  const std::optional<ElementType> known =
      type.is_string() ? ElementTypeOfSafetensors(type.get_ref<const std::string&>())
                       : std::nullopt;
  if (!known) return absl::DataLossError(absl::StrCat("has the unknown dtype ", Shortened(type)));
  tensor.type = *known;
  HETERO_ASSIGN_OR_RETURN(tensor.shape, Int64sOf(entry["shape"], "shape"));
  HETERO_ASSIGN_OR_RETURN(const std::vector<int64_t> offsets,
                          Int64sOf(entry["data_offsets"], "data_offsets"));
  if (offsets.size() != 2 || offsets[0] > offsets[1]) {
    return absl::DataLossError(
        absl::StrCat("data_offsets must be [begin, end], is [", absl::StrJoin(offsets, ", "), "]"));
  }
  tensor.begin = offsets[0];
  tensor.end = offsets[1];
  const absl::StatusOr<int64_t> bytes = PayloadBytes(tensor.type, tensor.shape);
  if (!bytes.ok()) return absl::DataLossError(bytes.status().message());
  if (*bytes != tensor.bytes()) {
    return absl::DataLossError(absl::StrCat("shape [", absl::StrJoin(tensor.shape, ", "), "] of ",
                                            SafetensorsName(tensor.type), " has ", *bytes,
                                            " bytes, data_offsets [", absl::StrJoin(offsets, ", "),
                                            "] have ", tensor.bytes()));
  }
  return tensor;
}

absl::StatusOr<std::map<std::string, std::string>> ParseMetadata(const Json& entry) {
  if (!entry.is_object()) {
    return absl::DataLossError(absl::StrCat("must be an object, is ", Shortened(entry)));
  }
  std::map<std::string, std::string> metadata;
  for (const auto& [name, value] : entry.items()) {
    if (!value.is_string()) {
      return absl::DataLossError(
          absl::StrCat(Shortened(name), " must be a string, is ", Shortened(value)));
    }
    metadata[name] = value.get<std::string>();
  }
  return metadata;
}

// `tensors` by offset.
absl::Status CheckCoverage(const std::vector<SafetensorsTensor>& tensors, int64_t buffer_bytes) {
  int64_t end = 0;
  for (const SafetensorsTensor& tensor : tensors) {
    if (tensor.begin != end) {
      return absl::DataLossError(absl::StrCat("tensor ", Shortened(tensor.name), ": data_offsets [",
                                              tensor.begin, ", ", tensor.end, "] ",
                                              tensor.begin > end ? "leave a hole" : "overlap",
                                              ": the tensors before end at ", end));
    }
    end = tensor.end;
  }
  if (end == buffer_bytes) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat("the tensors end at byte ", end, " of the buffer, the file has ", buffer_bytes,
                   end > buffer_bytes ? ": it was cut" : ": bytes were appended"));
}

bool ByOffset(const SafetensorsTensor& a, const SafetensorsTensor& b) {
  return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
}

std::string Quoted(const std::string& text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

absl::StatusOr<int64_t> ParseSafetensorsLength(std::string_view start, int64_t file_bytes) {
  if (file_bytes < kSafetensorsLengthBytes ||
      static_cast<int64_t>(start.size()) < kSafetensorsLengthBytes) {
    return absl::DataLossError(
        absl::StrCat("a file of ", file_bytes, " bytes has no safetensors header"));
  }
  uint64_t length = 0;
  for (int i = 0; i < kSafetensorsLengthBytes; ++i) {
    length |= uint64_t{static_cast<uint8_t>(start[i])} << (8 * i);
  }
  if (length > uint64_t{kMaxSafetensorsHeaderBytes}) {
    return absl::DataLossError(absl::StrCat("the safetensors header has ", length,
                                            " bytes by its length; at most ",
                                            kMaxSafetensorsHeaderBytes));
  }
  if (static_cast<int64_t>(length) > file_bytes - kSafetensorsLengthBytes) {
    return absl::DataLossError(absl::StrCat("the safetensors header has ", length,
                                            " bytes by its length, the file only ",
                                            file_bytes - kSafetensorsLengthBytes, " behind it"));
  }
  if (length == 0) {
    return absl::DataLossError(
        "the length of the safetensors header is 0: the file was not finished");
  }
  return static_cast<int64_t>(length);
}

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(std::string_view text,
                                                         int64_t buffer_bytes) {
  if (text.empty() || text[0] != '{') {
    return absl::DataLossError("the safetensors header does not begin with {");
  }
  HETERO_ASSIGN_OR_RETURN(const Json root, ParseStrictJson(text));
  SafetensorsHeader header;
  for (const auto& [name, entry] : root.items()) {
    if (name == kMetadata) {
      absl::StatusOr<std::map<std::string, std::string>> metadata = ParseMetadata(entry);
      HETERO_RETURN_IF_ERROR(metadata.status()).With(kMetadata);
      header.metadata = *std::move(metadata);
      continue;
    }
    absl::StatusOr<SafetensorsTensor> tensor = ParseTensor(name, entry);
    HETERO_RETURN_IF_ERROR(tensor.status()).With(absl::StrCat("tensor ", Shortened(name)));
    header.tensors.push_back(*std::move(tensor));
  }
  std::sort(header.tensors.begin(), header.tensors.end(), ByOffset);
  HETERO_RETURN_IF_ERROR(CheckCoverage(header.tensors, buffer_bytes));
  return header;
}

std::string SafetensorsHead(const SafetensorsHeader& header) {
  std::string text = "{";
  const auto separate = [&text] {
    if (text.size() > 1) text += ',';
  };
  if (!header.metadata.empty()) {
    absl::StrAppend(&text, Quoted(std::string(kMetadata)), ":{",
                    absl::StrJoin(header.metadata, ",",
                                  [](std::string* out, const auto& entry) {
                                    absl::StrAppend(out, Quoted(entry.first), ":",
                                                    Quoted(entry.second));
                                  }),
                    "}");
  }
  for (const SafetensorsTensor& tensor : header.tensors) {
    separate();
    absl::StrAppend(&text, Quoted(tensor.name), ":{\"dtype\":\"", SafetensorsName(tensor.type),
                    "\",\"shape\":[", absl::StrJoin(tensor.shape, ","), "],\"data_offsets\":[",
                    tensor.begin, ",", tensor.end, "]}");
  }
  text += '}';
  text.resize(RoundUp(static_cast<int64_t>(text.size()), int64_t{8}), ' ');
  std::string length;
  for (int i = 0; i < kSafetensorsLengthBytes; ++i) {
    length += static_cast<char>(text.size() >> (8 * i));
  }
  return length + text;
}

absl::StatusOr<SafetensorsHeader> LayOutSafetensors(std::vector<SafetensorsTensor> tensors,
                                                    std::map<std::string, std::string> metadata) {
  std::sort(tensors.begin(), tensors.end(),
            [](const SafetensorsTensor& a, const SafetensorsTensor& b) {
              return a.type != b.type ? a.type > b.type : a.name < b.name;
            });
  std::vector<std::string_view> names;
  int64_t end = 0;
  for (SafetensorsTensor& tensor : tensors) {
    if (tensor.name == kMetadata) {
      return absl::InvalidArgumentError(
          absl::StrCat("no tensor of a safetensors file can be called ", kMetadata));
    }
    absl::StatusOr<int64_t> bytes = PayloadBytes(tensor.type, tensor.shape);
    HETERO_RETURN_IF_ERROR(bytes.status()).With(absl::StrCat("tensor ", tensor.name));
    if (*bytes > std::numeric_limits<int64_t>::max() - end) {
      return absl::InvalidArgumentError(
          absl::StrCat("the tensors up to ", tensor.name, " have more than 2^63 - 1 bytes"));
    }
    tensor.begin = end;
    end += *bytes;
    tensor.end = end;
    names.push_back(tensor.name);
  }
  std::sort(names.begin(), names.end());
  if (const auto twice = std::adjacent_find(names.begin(), names.end()); twice != names.end()) {
    return absl::InvalidArgumentError(absl::StrCat("two tensors are called ", *twice));
  }
  return SafetensorsHeader{.tensors = std::move(tensors), .metadata = std::move(metadata)};
}

}  // namespace hetero
