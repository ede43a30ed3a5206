#include "hetero/tensor/ops/attention/sdpa_cudnn.h"

#include <cuda_runtime_api.h>
#include <cudnn_frontend.h>

#include <memory>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/tensor/cuda/cudnn_status.h"
#include "hetero/tensor/cuda/status.h"
#include "hetero/tensor/ops/attention/cudnn_version.h"
#include "hetero/tensor/ops/plan_cache.h"

namespace hetero::cuda {
namespace {

namespace fe = ::cudnn_frontend;
using Attributes = fe::graph::Tensor_attributes;
using Tensor = std::shared_ptr<Attributes>;

absl::Status FrontendStatus(fe::error_t error, std::string_view expression) {
  if (error.is_good()) return absl::OkStatus();
  const bool unsupported = error.get_code() == fe::error_code_t::GRAPH_NOT_SUPPORTED ||
                           error.get_code() == fe::error_code_t::HEURISTIC_QUERY_FAILED;
  return absl::Status(unsupported ? absl::StatusCode::kUnimplemented : absl::StatusCode::kInternal,
                      absl::StrCat(expression, ": cuDNN: ", error.get_message()));
}

// Names of a graph's tensors.
enum Uid : int64_t {
  kQuery = 1,
  kKey,
  kValue,
  kOut,
  kLse,
  kDOut,
  kDQuery,
  kDKey,
  kDValue,
  kQueryLengths,
  kKeyLengths,
  kFirstOffset,  // and one for each SdpaOffset
};

struct Plan {
  std::unique_ptr<fe::graph::Graph> graph;
  int64_t workspace_bytes = 0;
};

// The tensors of a problem as the library describes them: [batch, 1 head, rows, elements].
class GraphBuilder {
 public:
  explicit GraphBuilder(const SdpaProblem& problem)
      : problem_(problem), graph_(std::make_unique<fe::graph::Graph>()) {
    graph_->set_io_data_type(fe::DataType_t::BFLOAT16)
        .set_intermediate_data_type(fe::DataType_t::FLOAT)
        .set_compute_data_type(fe::DataType_t::FLOAT);
    for (int i = 0; i < kNumSdpaOffsets; ++i) {
      if (i >= kDOutOffset && !problem.backward) continue;
      offsets_[i] = PerEntry(kFirstOffset + i, problem.batch + 1, fe::DataType_t::INT64);
    }
    query_lengths_ = PerEntry(kQueryLengths, problem.batch, fe::DataType_t::INT32);
    key_lengths_ = PerEntry(kKeyLengths, problem.batch, fe::DataType_t::INT32);
  }

  std::unique_ptr<fe::graph::Graph> Build() {
    if (problem_.backward) {
      AddBackward();
    } else {
      AddForward();
    }
    return std::move(graph_);
  }

 private:
  Tensor PerEntry(int64_t uid, int64_t count, fe::DataType_t type) {
    return graph_->tensor(Attributes()
                              .set_uid(uid)
                              .set_dim({count, 1, 1, 1})
                              .set_stride({1, 1, 1, 1})
                              .set_data_type(type));
  }

  void DescribeHead(Attributes& tensor, Uid uid, int64_t rows, int64_t stride, SdpaOffset offset) {
    tensor.set_uid(uid)
        .set_dim({problem_.batch, 1, rows, problem_.head_size})
        .set_stride({rows * stride, problem_.head_size, stride, 1})
        .set_ragged_offset(offsets_[offset]);
  }
  void DescribeLse(Attributes& tensor) {
    tensor.set_uid(kLse)
        .set_dim({problem_.batch, 1, problem_.query_length, 1})
        .set_stride({problem_.query_length, problem_.query_length, 1, 1})
        .set_data_type(fe::DataType_t::FLOAT)
        .set_ragged_offset(offsets_[kLseOffset]);
  }
  Tensor Head(Uid uid, int64_t rows, int64_t stride, SdpaOffset offset) {
    Attributes tensor;
    DescribeHead(tensor, uid, rows, stride, offset);
    return graph_->tensor(tensor);
  }
  Tensor Query() { return Head(kQuery, problem_.query_length, problem_.qkv_stride, kQueryOffset); }
  Tensor Key() { return Head(kKey, problem_.key_length, problem_.qkv_stride, kKeyOffset); }
  Tensor Value() { return Head(kValue, problem_.key_length, problem_.qkv_stride, kKeyOffset); }

  template <typename Options>
  Options WithMask(Options options) {
    options.set_attn_scale(static_cast<float>(problem_.scale))
        .set_causal_mask(problem_.causal)
        .set_padding_mask(true)
        .set_seq_len_q(query_lengths_)
        .set_seq_len_kv(key_lengths_);
    return options;
  }

  void AddForward() {
    const auto [out, lse] =
        graph_->sdpa(Query(), Key(), Value(),
                     WithMask(fe::graph::SDPA_attributes().set_name("attention.forward"))
                         .set_generate_stats(true));
    DescribeHead(out->set_output(true), kOut, problem_.query_length, problem_.o_stride, kOutOffset);
    DescribeLse(lse->set_output(true));
  }

  void AddBackward() {
    const Tensor out = Head(kOut, problem_.query_length, problem_.o_stride, kOutOffset);
    const Tensor d_out = Head(kDOut, problem_.query_length, problem_.d_o_stride, kDOutOffset);
    Attributes lse;
    DescribeLse(lse);
    const auto [d_query, d_key, d_value] = graph_->sdpa_backward(
        Query(), Key(), Value(), out, d_out, graph_->tensor(lse),
        WithMask(fe::graph::SDPA_backward_attributes().set_name("attention.backward"))
            .set_deterministic_algorithm(true));
    DescribeHead(d_query->set_output(true), kDQuery, problem_.query_length, problem_.d_query_stride,
                 kDQueryOffset);
    DescribeHead(d_key->set_output(true), kDKey, problem_.key_length, problem_.d_key_stride,
                 kDKeyOffset);
    DescribeHead(d_value->set_output(true), kDValue, problem_.key_length, problem_.d_key_stride,
                 kDKeyOffset);
  }

  const SdpaProblem& problem_;
  std::unique_ptr<fe::graph::Graph> graph_;
  Tensor offsets_[kNumSdpaOffsets];
  Tensor query_lengths_, key_lengths_;
};

// The library's handle and the plans of the problems met so far, of one stream.
class Cudnn {
 public:
  static absl::StatusOr<std::unique_ptr<Cudnn>> Create(hetero::Stream& stream) {
    HETERO_RETURN_IF_ERROR(hetero::internal::ExpectCudnnVersion(
        static_cast<int64_t>(cudnnGetVersion()), CUDNN_VERSION));
    HETERO_RETURN_IF_CUDA_ERROR(cudaSetDevice(stream.device().ordinal));
    cudnnHandle_t handle = nullptr;
    HETERO_RETURN_IF_CUDNN_ERROR(cudnnCreate(&handle));
    auto library = std::make_unique<Cudnn>();
    library->handle_.reset(handle);
    return library;
  }

  cudnnHandle_t handle() const { return handle_.get(); }

  absl::StatusOr<Plan*> PlanOf(const SdpaProblem& problem) {
    return plans_.Get(problem, [&](const SdpaProblem& p) { return MakePlan(p); });
  }

 private:
  absl::StatusOr<Plan> MakePlan(const SdpaProblem& problem) const {
    Plan plan;
    plan.graph = GraphBuilder(problem).Build();
    HETERO_RETURN_IF_ERROR(
        FrontendStatus(plan.graph->build(handle(), {fe::HeurMode_t::A}), "attention plan"))
        .With(absl::StrCat(problem.batch, " heads of ", problem.query_length, " queries and ",
                           problem.key_length, " keys of ", problem.head_size));
    HETERO_RETURN_IF_ERROR(FrontendStatus(plan.graph->get_workspace_size(plan.workspace_bytes),
                                          "attention plan's workspace"));
    return plan;
  }

  // A model has one for each padded length and direction; each costs the host some milliseconds.
  static constexpr size_t kMaxPlans = 512;

  struct Destroyer {
    using pointer = cudnnHandle_t;
    void operator()(cudnnHandle_t handle) const { static_cast<void>(cudnnDestroy(handle)); }
  };
  std::unique_ptr<cudnnHandle_t, Destroyer> handle_;
  PlanCache<SdpaProblem, Plan> plans_{kMaxPlans};
};

}  // namespace

absl::Status Sdpa(const SdpaProblem& problem, const SdpaOperands& operands, hetero::Stream& keeper,
                  hetero::Stream& lane) {
  HETERO_RETURN_IF_CUDA_ERROR(cudaSetDevice(lane.device().ordinal));
  HETERO_ASSIGN_OR_RETURN(Cudnn* const library, keeper.State<Cudnn>());
  HETERO_ASSIGN_OR_RETURN(Plan* const plan, library->PlanOf(problem));
  if (plan->workspace_bytes > operands.workspace_bytes) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "cuDNN's attention of ", problem.batch, " heads of ", problem.query_length, " queries and ",
        problem.key_length, " keys needs a workspace of ", plan->workspace_bytes, " bytes; ",
        operands.workspace_bytes, " are planned for it"));
  }
  // The library takes every pointer as mutable and writes the outputs of the graph alone.
  std::unordered_map<int64_t, void*> pointers;
  const auto bind = [&](int64_t uid, const void* pointer) {
    pointers[uid] = const_cast<void*>(pointer);
  };
  bind(kQuery, operands.query);
  bind(kKey, operands.key);
  bind(kValue, operands.value);
  bind(kOut, operands.out);
  bind(kLse, operands.lse);
  bind(kQueryLengths, operands.query_lengths);
  bind(kKeyLengths, operands.key_lengths);
  if (problem.backward) {
    bind(kDOut, operands.d_out);
    bind(kDQuery, operands.d_query);
    bind(kDKey, operands.d_key);
    bind(kDValue, operands.d_value);
  }
  const int num_offsets = problem.backward ? kNumSdpaOffsets : kDOutOffset;
  for (int i = 0; i < num_offsets; ++i) {
    bind(kFirstOffset + i, operands.offsets + i * (problem.batch + 1));
  }
  HETERO_RETURN_IF_CUDNN_ERROR(
      cudnnSetStream(library->handle(), static_cast<cudaStream_t>(lane.handle())));
  return FrontendStatus(plan->graph->execute(library->handle(), pointers, operands.workspace),
                        problem.backward ? "attention.backward" : "attention.forward");
}

}  // namespace hetero::cuda
