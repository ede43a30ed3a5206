// Faults of a rank inside its calls of others, at points of the start, of steps, of an evaluation
// and of the end: all ranks end within seconds and name the rank that has it.

#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/status.h"
#include "hetero/comm/communicator.h"
#include "hetero/comm/testing/process_ranks.h"
#include "hetero/models/registry.h"
#include "hetero/trainer/devices.h"
#include "hetero/trainer/feed/input_contract.h"
#include "hetero/trainer/feed/samples.h"
#include "hetero/trainer/job.h"
#include "hetero/trainer/prediction.h"
#include "hetero/trainer/signals.h"
#include "hetero/trainer/step/rank_trainer.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::ResultOf;

enum class Fault : uint8_t { kNone, kThrow, kDropSend, kSwap };

// Of one rank: what goes wrong, and from which of its calls on.
struct Plan {
  Fault fault = Fault::kNone;
  int64_t at = 0;
  int64_t num_calls = 0;
  bool done = false;

  // Whether `fault` happens in the call that begins.
  bool Happens(Fault kind) {
    if (kind != fault || done || num_calls < at) return false;
    done = true;
    return true;
  }
};

class FaultyCommunicator final : public Communicator {
 public:
  FaultyCommunicator(std::unique_ptr<Communicator> real, Plan& plan)
      : real_(std::move(real)), plan_(plan) {}

  std::span<const GlobalRank> members() const override { return real_->members(); }
  GroupRank rank() const override { return real_->rank(); }
  absl::Status AllReduce(ConstTensorView input, TensorView output, ReduceOp op, Stream& stream,
                         std::string_view name) override {
    HETERO_RETURN_IF_ERROR(BeginCollective(stream));
    return real_->AllReduce(input, output, op, stream, name);
  }
  absl::Status ReduceScatter(ConstTensorView input, TensorView output, Stream& stream,
                             std::string_view name) override {
    HETERO_RETURN_IF_ERROR(BeginCollective(stream));
    return real_->ReduceScatter(input, output, stream, name);
  }
  absl::Status AllGather(ConstTensorView input, TensorView output, Stream& stream,
                         std::string_view name) override {
    HETERO_RETURN_IF_ERROR(BeginCollective(stream));
    return real_->AllGather(input, output, stream, name);
  }
  absl::Status AllToAllV(ConstTensorView input, std::span<const int64_t> send_rows,
                         TensorView output, std::span<const int64_t> receive_rows, Stream& stream,
                         std::string_view name) override {
    HETERO_RETURN_IF_ERROR(BeginCollective(stream));
    return real_->AllToAllV(input, send_rows, output, receive_rows, stream, name);
  }
  absl::Status Broadcast(TensorView tensor, GroupRank root, Stream& stream,
                         std::string_view name) override {
    HETERO_RETURN_IF_ERROR(BeginCollective(stream));
    return real_->Broadcast(tensor, root, stream, name);
  }
  absl::StatusOr<std::unique_ptr<TransferHandle>> Exchange(std::span<const SendRequest> sends,
                                                           std::span<const ReceiveRequest> receives,
                                                           Stream& stream,
                                                           std::string_view name) override {
    Begin();
    if (!sends.empty() && plan_.Happens(Fault::kDropSend)) sends = sends.subspan(1);
    return real_->Exchange(sends, receives, stream, name);
  }
  void Abort(const absl::Status& cause) override { real_->Abort(cause); }
  absl::Status HealthCheck() const override { return real_->HealthCheck(); }
  std::string ToString() const override { return real_->ToString(); }

 private:
  void Begin() {
    ++plan_.num_calls;
    if (plan_.Happens(Fault::kThrow)) throw std::runtime_error("planted");
  }

  // Where calls are swapped, another one comes before.
  absl::Status BeginCollective(Stream& stream) {
    Begin();
    if (!plan_.Happens(Fault::kSwap)) return absl::OkStatus();
    float value = 0;
    const TensorView tensor(&value, DType::kF32, {1});
    return real_->AllReduce(tensor, tensor, ReduceOp::kMax, stream, "out of turn");
  }

  const std::unique_ptr<Communicator> real_;
  Plan& plan_;
};

class FaultyFactory final : public CommunicatorFactory {
 public:
  FaultyFactory(CommunicatorFactory& real, Plan& plan) : real_(real), plan_(plan) {}

  absl::StatusOr<std::unique_ptr<Communicator>> Create(
      const CommunicatorKey& key, const CommunicatorOptions& options) override {
    ++plan_.num_calls;
    if (plan_.Happens(Fault::kThrow)) throw std::runtime_error("planted");
    HETERO_ASSIGN_OR_RETURN(std::unique_ptr<Communicator> made, real_.Create(key, options));
    return std::make_unique<FaultyCommunicator>(std::move(made), plan_);
  }
  void AbortAll(const absl::Status& cause) override { real_.AbortAll(cause); }

 private:
  CommunicatorFactory& real_;
  Plan& plan_;
};

// Two encoder and two language ranks: rows over the bridge, layers and experts divided.
struct Trained {
  Trained()
      : job(MakeJob({.config = RecipeConfig(
                         "mock_vlm_tiny",
                         {"launch=processes:4", "radio_encoder.num_ranks=2",
                          "language.rank_offset=2", "language.num_ranks=2", "language.tp=2",
                          "language.ep=2", "evaluation.num_batches=1"})},
                    BuiltInModels())
                .value()),
        predictions(PredictRun(job, signals).value()) {
    job.devices = DevicesOfThreads(job.config.device(), job.layout->world_size()).value();
    job.samples = PrepareSamples(job.config, ContractOf(job.model->graph()), /*num_lanes=*/1,
                                 TestFolder(), {})
                      .value();
  }

  absl::Status Run(GlobalRank rank, CommunicatorFactory& factory) const {
    EngineOptions options = MakeEngineOptions(job, rank, job.devices[rank.value()], factory);
    options.memory = predictions[job.work.of_rank[rank.value()]].arenas;
    HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<RankTrainer> trainer,
                            RankTrainer::Create(std::move(options), *job.optimizer));
    const auto step = [&](int64_t number) -> absl::Status {
      HETERO_RETURN_IF_ERROR(trainer->Queue(number));
      return trainer->Result().status();
    };
    for (int64_t number = 0; number < 2; ++number) HETERO_RETURN_IF_ERROR(step(number));
    HETERO_RETURN_IF_ERROR(trainer->Evaluate(1, [] { return false; }).status());
    return step(2);
  }

  StopSignals signals;
  Job job;
  std::vector<Prediction> predictions;
};

constexpr int kPoints = 20;
constexpr absl::Duration kDeadline = absl::Seconds(2);

// How many calls each rank makes when nothing goes wrong.
std::vector<int64_t> CountCalls(const Trained& trained) {
  std::vector<Plan> plans(4);
  const std::vector<absl::Status> results =
      RunProcessRanks(4, [&](GlobalRank rank, CommunicatorFactory& factory) {
        FaultyFactory counting(factory, plans[static_cast<size_t>(rank.value())]);
        return trained.Run(rank, counting);
      });
  EXPECT_THAT(results, Each(IsOk()));
  std::vector<int64_t> counts;
  for (const Plan& plan : plans) counts.push_back(plan.num_calls);
  return counts;
}

struct Case {
  Fault fault;
  int point;
};

class RankFaultTest : public testing::TestWithParam<Case> {
 protected:
  static void SetUpTestSuite() {
    trained_ = new Trained();
    counts_ = new std::vector<int64_t>(CountCalls(*trained_));
  }
  static void TearDownTestSuite() {
    delete counts_;
    delete trained_;
  }

  static inline const Trained* trained_ = nullptr;
  static inline const std::vector<int64_t>* counts_ = nullptr;
};

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const Fault fault : {Fault::kThrow, Fault::kDropSend, Fault::kSwap}) {
    for (int point = 0; point < kPoints; ++point) cases.push_back({fault, point});
  }
  return cases;
}

std::string NameOf(const testing::TestParamInfo<Case>& info) {
  constexpr std::string_view kNames[] = {"None", "Throw", "DropSend", "Swap"};
  return absl::StrCat(kNames[static_cast<int>(info.param.fault)], info.param.point);
}

INSTANTIATE_TEST_SUITE_P(Points, RankFaultTest, testing::ValuesIn(Cases()), NameOf);

TEST_P(RankFaultTest, EndsAllRanksWithTheNameOfTheCulprit) {
  const std::vector<int64_t>& counts = *counts_;
  std::mt19937_64 random = FreshGenerator();
  const size_t culprit = random() % 4;
  // Of the calls one in the part of the run that is this point's; the last part may hold no call of
  // the kind any more.
  const auto share = static_cast<uint64_t>(counts[culprit] / kPoints);
  std::vector<Plan> plans(4);
  plans[culprit] = {.fault = GetParam().fault,
                    .at = static_cast<int64_t>(static_cast<uint64_t>(GetParam().point) * share +
                                               random() % share)};
  const absl::Time start = absl::Now();
  const std::vector<absl::Status> results = RunProcessRanks(
      4,
      [&](GlobalRank rank, CommunicatorFactory& factory) {
        FaultyFactory faulty(factory, plans[static_cast<size_t>(rank.value())]);
        return trained_->Run(rank, faulty);
      },
      kDeadline);
  const std::string where =
      absl::StrCat("rank ", culprit, ", from call ", plans[culprit].at, " of ", counts[culprit]);
  EXPECT_LT(absl::Now() - start, absl::Seconds(10)) << where;
  if (!plans[culprit].done) {
    EXPECT_THAT(results, Each(IsOk())) << where;
    return;
  }
  const std::string name = absl::StrCat("rank ", culprit);
  EXPECT_THAT(results, Each(ResultOf(
                           [](const absl::Status& status) { return std::string(status.message()); },
                           HasSubstr(name))))
      << where;
}

}  // namespace
}  // namespace hetero
