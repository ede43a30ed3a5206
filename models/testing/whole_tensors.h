#ifndef HETERO_MODELS_TESTING_WHOLE_TENSORS_H_
#define HETERO_MODELS_TESTING_WHOLE_TENSORS_H_

// What the ranks of a grid kept (parallel_rig.h), put together.

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "hetero/models/testing/parallel_rig.h"
#include "hetero/params/shard.h"

namespace hetero {

// Adds a test failure unless the Euclidean norm of the difference is at most `tolerance` of that of
// `expected`.
void ExpectClose(const std::string& what, std::span<const double> actual,
                 std::span<const double> expected, double tolerance);

class WholeTensors {
 public:
  // `tolerance`: between ranks that have the same numbers.
  explicit WholeTensors(double tolerance) : tolerance_(tolerance) {}

  // What the rank at `place` kept. Adds a test failure for numbers in padding that must not be.
  void Add(const ParallelRig::Kept& kept, const ShardSpec& place);

  // Ends the sums. To be called once.
  std::map<std::string, std::vector<double>> Take();

 private:
  using Kept = ParallelRig::Kept;

  void AddRows(const Kept& kept);
  void AddSame(const Kept& kept);
  void AddPart(const std::string& name, const std::vector<double>& values);
  void AddGradient(const Kept& kept, const ShardSpec& place);

  double tolerance_;
  std::map<std::string, std::vector<double>> tensors_;
  std::map<std::pair<std::string, int64_t>, std::vector<double>> replicated_;  // name and lane
};

}  // namespace hetero

#endif  // HETERO_MODELS_TESTING_WHOLE_TENSORS_H_
