#ifndef HETERO_CKPT_MATCH_H_
#define HETERO_CKPT_MATCH_H_

// What of a checkpoint answers what ranks want, decided before anything is read. Pure: all ranks
// come to the same result, and a tool to that of a run.

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "hetero/ckpt/checkpoint_index.h"
#include "hetero/ckpt/load.h"
#include "hetero/ckpt/plan/world_plan.h"
#include "hetero/ckpt/stored_match.h"

namespace hetero {

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
