#ifndef HETERO_CKPT_MATCH_H_
#define HETERO_CKPT_MATCH_H_

// What of a checkpoint answers what ranks want, decided before anything is read. Pure: all ranks
// come to the same result, and a tool to that of a run.

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "hetero/ckpt/checkpoint_index.h"
#include "hetero/ckpt/load.h"
#include "hetero/ckpt/plan/world_plan.h"
#include "hetero/params/box_map.h"
#include "hetero/tensor/view.h"

namespace hetero {

// The canonical key with "param" for "fp32_param": words of the writer's version are no part of a
// name.
std::string MatchingKey(std::string_view key);

// "*" stands for any text, "?" for any character.
bool MatchesPattern(std::string_view text, std::string_view pattern);

// The stored tensors that are a wanted one: it, or one of which it is row `row`, or one for each of
// its rows.
struct StoredMatch {
  std::vector<const IndexedTensor*> tensors;
  std::vector<std::string_view> keys;  // parallel
  std::optional<int64_t> row;
  bool per_row = false;
};

// A box of a stored tensor, and where it goes.
struct ReadTarget {
  const IndexedTensor* stored = nullptr;
  std::string_view key;  // of the stored tensor
  Box box;
  TensorView local;
};

// What to read for a box of the wanted tensor.
std::vector<ReadTarget> TargetsOf(const StoredMatch& match, const Box& box,
                                  const TensorView& local);

// What a load is refused for.
struct Misfit {
  std::string name;  // of a tensor or an object
  std::string text;  // begins with it
};

struct MatchReport {
  std::map<std::string, StoredMatch, std::less<>> tensors;  // by wanted key
  std::map<std::string, const IndexedObject*, std::less<>> objects;
  std::vector<std::string> kept;
  std::vector<std::string> unused;
  std::vector<std::string> cast;

  std::vector<Misfit> missing;   // wanted and not stored; who wants it, the nearest stored names
  std::vector<Misfit> unlike;    // of another shape or type
  std::vector<Misfit> unwanted;  // those of `unused` that may not be; the nearest wanted names
  std::vector<std::string> idle_patterns;  // of LoadOptions::allow_missing that allow nothing

  // OK when a load would go on. Errors: those that Load tells before anything is changed.
  absl::Status Refusal() const;
};

// `index` outlives the report.
MatchReport MatchRequest(const CheckpointIndex& index, const WorldPlan& request,
                         const LoadOptions& options);

}  // namespace hetero

#endif  // HETERO_CKPT_MATCH_H_
