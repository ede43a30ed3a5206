#include "hetero/ckpt/safetensors/index.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/format/strict_json.h"

namespace hetero {
namespace {

using Json = nlohmann::json;

constexpr int kIndexIndent = 2;  // as the libraries write it

int64_t NumElements(const SafetensorsTensor& tensor) {
  int64_t count = 1;
  for (const int64_t dim : tensor.shape) count *= dim;
  return count;
}

std::string IndexText(const SafetensorsPlan& plan) {
  int64_t bytes = 0;
  int64_t parameters = 0;
  Json files = Json::object();
  for (const SafetensorsPlan::File& file : plan.files) {
    bytes += file.header.buffer_bytes();
    for (const SafetensorsTensor& tensor : file.header.tensors) {
      parameters += NumElements(tensor);
      files[tensor.name] = file.name;
    }
  }
  const Json index = {{"metadata", {{"total_parameters", parameters}, {"total_size", bytes}}},
                      {"weight_map", std::move(files)}};
  return absl::StrCat(index.dump(kIndexIndent, ' ', false, Json::error_handler_t::replace), "\n");
}

}  // namespace

absl::StatusOr<SafetensorsPlan> PlanSafetensors(std::vector<SafetensorsTensor> tensors,
                                                const SafetensorsPlanOptions& options) {
  // All of them at once find what is wrong with names and sizes, whatever file it would lie in.
  HETERO_RETURN_IF_ERROR(LayOutSafetensors(tensors, options.metadata));

  std::vector<std::vector<SafetensorsTensor>> files(1);
  int64_t filled = 0;
  for (SafetensorsTensor& tensor : tensors) {
    const int64_t bytes = *PayloadBytes(tensor.type, tensor.shape);
    if (!files.back().empty() && filled + bytes > options.max_file_bytes) {
      files.emplace_back();
      filled = 0;
    }
    filled += bytes;
    files.back().push_back(std::move(tensor));
  }

  SafetensorsPlan plan;
  for (size_t i = 0; i < files.size(); ++i) {
    HETERO_ASSIGN_OR_RETURN(SafetensorsHeader header,
                            LayOutSafetensors(std::move(files[i]), options.metadata));
    plan.files.push_back(
        {.name = files.size() == 1
                     ? "model.safetensors"
                     : absl::StrFormat("model-%05d-of-%05d.safetensors", i + 1, files.size()),
         .header = std::move(header)});
  }
  if (plan.files.size() > 1) plan.index = IndexText(plan);
  return plan;
}

absl::StatusOr<SafetensorsPlan> PlanSafetensorsFile(std::string name,
                                                    std::vector<SafetensorsTensor> tensors,
                                                    std::map<std::string, std::string> metadata) {
  HETERO_ASSIGN_OR_RETURN(SafetensorsHeader header,
                          LayOutSafetensors(std::move(tensors), std::move(metadata)));
  SafetensorsPlan plan;
  plan.files.push_back({.name = std::move(name), .header = std::move(header)});
  return plan;
}

absl::StatusOr<std::map<std::string, std::string>> ParseSafetensorsIndex(std::string_view text) {
  HETERO_ASSIGN_OR_RETURN(const Json root, ParseStrictJson(text));
  if (!root.is_object() || !root.contains("weight_map") || !root["weight_map"].is_object()) {
    return absl::DataLossError("no weight_map that gives the file of each tensor");
  }
  std::map<std::string, std::string> files;
  for (const auto& [tensor, file] : root["weight_map"].items()) {
    const std::string name = file.is_string() ? file.get<std::string>() : "";
    if (name.empty() || absl::StrContains(name, '/') || absl::StrContains(name, '\0')) {
      return absl::DataLossError(absl::StrCat("tensor ", Shortened(tensor),
                                              ": the file must be a name in this folder, is ",
                                              Shortened(file)));
    }
    files[tensor] = name;
  }
  return files;
}

}  // namespace hetero
