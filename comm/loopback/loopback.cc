#include "hetero/comm/loopback/loopback.h"

#include <cstddef>
#include <cstring>
#include <memory>
#include <numeric>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "hetero/base/status.h"
#include "hetero/comm/checked_communicator.h"
#include "hetero/comm/collective.h"

namespace hetero {
namespace {

class Health {
 public:
  void Abort(const absl::Status& cause) {
    absl::MutexLock lock(&mutex_);
    cause_.Update(cause);
  }
  absl::Status cause() const {
    absl::MutexLock lock(&mutex_);
    return cause_;
  }
  absl::Status Check(std::string_view name) const {
    const absl::Status first = cause();
    if (first.ok()) return first;
    return absl::AbortedError(
        absl::StrCat("'", name, "': the run was aborted by its first failure: ",
                     absl::StatusCodeToString(first.code()), ": ", first.message()));
  }

 private:
  mutable absl::Mutex mutex_;
  absl::Status cause_ ABSL_GUARDED_BY(mutex_);
};

void Copy(const TensorView& to, const ConstTensorView& from) {
  if (to.num_elements() > 0 && to.address() != from.address()) {
    std::memmove(to.address(), from.address(), static_cast<size_t>(to.num_bytes()));
  }
}

void Zero(const TensorView& tensor) {
  if (tensor.num_elements() > 0) {
    std::memset(tensor.address(), 0, static_cast<size_t>(tensor.num_bytes()));
  }
}

TensorView Flat(const TensorView& tensor) { return tensor.Reshape({tensor.num_elements()}); }
ConstTensorView Flat(const ConstTensorView& tensor) {
  return tensor.Reshape({tensor.num_elements()});
}

class LoopbackCommunicator final : public CheckedCommunicator {
 public:
  LoopbackCommunicator(CommunicatorKey key, GroupRank rank, const CommunicatorOptions& options,
                       std::shared_ptr<Health> health)
      : CheckedCommunicator("loopback", std::move(key), rank, options, nullptr),
        health_(std::move(health)) {}

  void Abort(const absl::Status& cause) override { health_->Abort(cause); }
  absl::Status HealthCheck() const override { return health_->cause(); }

 private:
  absl::Status RunCollective(const Collective& call, Stream&) override {
    HETERO_RETURN_IF_ERROR(health_->Check(call.name));
    const ConstTensorView& input = call.input;
    const TensorView& output = call.output;
    const size_t me = static_cast<size_t>(rank().value());
    switch (call.kind) {
      case CollectiveKind::kAllReduce:
        Copy(output, input);
        break;
      case CollectiveKind::kReduceScatter: {
        const int64_t count = output.num_elements();
        Copy(output, Flat(input).Rows(rank().value() * count, count));
        break;
      }
      case CollectiveKind::kAllGather: {
        const int64_t count = input.num_elements();
        const TensorView chunks = Flat(output);
        const TensorView own = chunks.Rows(rank().value() * count, count);
        Copy(own, input);
        for (int64_t i = 0; i < size(); ++i) Copy(chunks.Rows(i * count, count), own);
        break;
      }
      case CollectiveKind::kAllToAll: {
        const auto before = [&](std::span<const int64_t> rows) {
          return std::accumulate(rows.begin(), rows.begin() + rank().value(), int64_t{0});
        };
        const int64_t own_rows = call.send_rows[me];
        Zero(output);
        Copy(output.Rows(before(call.receive_rows), own_rows),
             input.Rows(before(call.send_rows), own_rows));
        break;
      }
      case CollectiveKind::kBroadcast:
        if (call.root != rank()) Zero(output);
        break;
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<TransferHandle>> RunExchange(
      std::span<const SendRequest>, std::span<const ReceiveRequest> receives, Stream&,
      std::string_view name) override {
    HETERO_RETURN_IF_ERROR(health_->Check(name));
    for (const ReceiveRequest& receive : receives) Zero(receive.tensor);
    return std::make_unique<TransferHandle>();
  }

  std::shared_ptr<Health> health_;
};

class Factory final : public CommunicatorFactory {
 public:
  Factory(GlobalRank rank, int64_t world_size) : rank_(rank), world_size_(world_size) {}

  absl::StatusOr<std::unique_ptr<Communicator>> Create(
      const CommunicatorKey& key, const CommunicatorOptions& options) override {
    HETERO_ASSIGN_OR_RETURN(const GroupRank rank, CheckKey(key, options, rank_, world_size_));
    return std::make_unique<LoopbackCommunicator>(key, rank, options, health_);
  }

  void AbortAll(const absl::Status& cause) override { health_->Abort(cause); }

 private:
  GlobalRank rank_;
  int64_t world_size_;
  std::shared_ptr<Health> health_ = std::make_shared<Health>();
};

}  // namespace

std::unique_ptr<CommunicatorFactory> LoopbackFactory(GlobalRank rank, int64_t world_size) {
  return std::make_unique<Factory>(rank, world_size);
}

}  // namespace hetero
