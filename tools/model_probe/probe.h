#ifndef HETERO_TOOLS_MODEL_PROBE_PROBE_H_
#define HETERO_TOOLS_MODEL_PROBE_PROBE_H_

// One forward and one backward of a public model, from its files to numbers in a file, on
// tensor-parallel ranks that are threads of this process. What runs is what a training run runs.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/ckpt/storage/storage.h"
#include "hetero/tensor/dtype.h"

namespace hetero {

struct ProbeOptions {
  std::filesystem::path model;     // folder with config.json and safetensors files
  std::filesystem::path inputs;    // safetensors file, as inputs.h
  std::filesystem::path output;    // safetensors file to be written; its folder exists
  std::filesystem::path exported;  // folder that gets the weights back; empty: none
  int64_t tp = 1;                  // ranks
  int64_t ep = 1;                  // of these, ranks between which experts are divided
  DType dtype = DType::kF32;       // f32 or f64
  bool cast = false;               // weights of another type are cast
  bool gradients = true;           // "gradient.NAME" of every parameter, by its name in the files
  bool layers = false;             // "layer.N", what each layer returns
  // Patterns of weights that the model does not use ("*": any text), beside those that public
  // models of the kind have and no model of ours.
  std::vector<std::string> unused = {};
};

struct ProbeReport {
  double loss = 0;
  int64_t weights = 0;              // tensors that were read
  std::vector<std::string> unused;  // in the files, not read
  std::vector<std::string> cast;    // "key: f32 -> bf16"
  int64_t tensors_written = 0;
};

// The output's metadata has "order": names, one a line, as the model computes them. Errors: those
// of reading and writing, of Load, of the model; INVALID_ARGUMENT a layout that the model cannot
// have, or weights that are to be exported in another type than their files have.
absl::StatusOr<ProbeReport> Probe(Storage& storage, const ProbeOptions& options);

}  // namespace hetero

#endif  // HETERO_TOOLS_MODEL_PROBE_PROBE_H_
