#ifndef HETERO_TENSOR_OPS_PLAN_CACHE_H_
#define HETERO_TENSOR_OPS_PLAN_CACHE_H_

#include <cstddef>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "hetero/base/status.h"

namespace hetero {

// What a library needs to run the problems met so far: it takes long to make and is used at every
// call. Not thread-safe: a stream's thread owns it.
template <typename Problem, typename Plan>
class PlanCache {
 public:
  // At `max_plans` all are forgotten: a run that has that many meets new problems all the time.
  explicit PlanCache(size_t max_plans) : max_plans_(max_plans) {}

  // The plan of `problem`, from `make` if there is none yet. Good until the next call.
  // Errors: those of `make`, which the next call for `problem` asks again.
  absl::StatusOr<Plan*> Get(const Problem& problem,
                            absl::FunctionRef<absl::StatusOr<Plan>(const Problem&)> make) {
    auto found = plans_.find(problem);
    if (found == plans_.end()) {
      HETERO_ASSIGN_OR_RETURN(Plan plan, make(problem));
      if (plans_.size() == max_plans_) plans_.clear();
      found = plans_.emplace(problem, std::move(plan)).first;
    }
    return &found->second;
  }

 private:
  size_t max_plans_;
  absl::flat_hash_map<Problem, Plan> plans_;
};

}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_PLAN_CACHE_H_
