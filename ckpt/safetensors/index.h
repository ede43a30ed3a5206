#ifndef HETERO_CKPT_SAFETENSORS_INDEX_H_
#define HETERO_CKPT_SAFETENSORS_INDEX_H_

// A model in several safetensors files: how its tensors are divided among them, and the index that
// says so, as Hugging Face's libraries write and read it.

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/ckpt/safetensors/header.h"

namespace hetero {

inline constexpr std::string_view kSafetensorsIndexName = "model.safetensors.index.json";

struct SafetensorsPlanOptions {
  // A tensor that has more lies in a file of its own.
  int64_t max_file_bytes = 5'000'000'000;

  // Older releases of transformers refuse a file without the format.
  std::map<std::string, std::string> metadata = {{"format", "pt"}};
};

// What is written: the same on every rank that is given the same tensors.
struct SafetensorsPlan {
  struct File {
    std::string name;  // in the folder
    SafetensorsHeader header;
  };
  std::vector<File> files;
  std::string index;  // text of kSafetensorsIndexName; empty for one file, which needs none
};

// Fills file after file with the tensors in the order given: "model.safetensors", or
// "model-00001-of-00002.safetensors" and on. Errors: those of LayOutSafetensors.
absl::StatusOr<SafetensorsPlan> PlanSafetensors(std::vector<SafetensorsTensor> tensors,
                                                const SafetensorsPlanOptions& options = {});

// One file of that name.
absl::StatusOr<SafetensorsPlan> PlanSafetensorsFile(std::string name,
                                                    std::vector<SafetensorsTensor> tensors,
                                                    std::map<std::string, std::string> metadata = {
                                                        {"format", "pt"}});

// Reads an index: the file of every tensor. DATA_LOSS for what is none, or for a file that is not
// a plain name in the index's own folder.
absl::StatusOr<std::map<std::string, std::string>> ParseSafetensorsIndex(std::string_view text);

}  // namespace hetero

#endif  // HETERO_CKPT_SAFETENSORS_INDEX_H_
