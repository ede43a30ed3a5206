#ifndef HETERO_COMM_TESTING_BACKEND_CONTRACT_H_
#define HETERO_COMM_TESTING_BACKEND_CONTRACT_H_

// What every backend with ranks on the host does, as tests. A backend instantiates both suites.

#include <cstdint>
#include <ostream>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/comm/communicator.h"

namespace hetero {

using RankFunction = absl::FunctionRef<absl::Status(GlobalRank, CommunicatorFactory&)>;

struct TestedBackend {
  std::string name;
  absl::Status (*run)(int64_t num_ranks, RankFunction function);  // the first failure of any rank

  friend void PrintTo(const TestedBackend& backend, std::ostream* out) { *out << backend.name; }
};

// Backend, ranks, elements of a tensor.
class BackendContract : public testing::TestWithParam<std::tuple<TestedBackend, int64_t, int64_t>> {
 protected:
  int64_t num_ranks() const { return std::get<1>(GetParam()); }
  int64_t count() const { return std::get<2>(GetParam()); }
  absl::Status Run(int64_t num_ranks, RankFunction function) const {
    return std::get<0>(GetParam()).run(num_ranks, function);
  }

  // Of a rank, the same at every call of a test.
  std::vector<float> RandomValues(int64_t rank, int64_t count) const {
    std::mt19937_64 random(seed_ + static_cast<uint64_t>(rank));
    std::normal_distribution<float> normal(0.0f, 1e4f);
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = normal(random);
    return values;
  }

 private:
  const uint64_t seed_ = FreshSeed();
};

class BackendWorldContract : public testing::TestWithParam<TestedBackend> {
 protected:
  absl::Status Run(int64_t num_ranks, RankFunction function) const {
    return GetParam().run(num_ranks, function);
  }
};

}  // namespace hetero

#endif  // HETERO_COMM_TESTING_BACKEND_CONTRACT_H_
