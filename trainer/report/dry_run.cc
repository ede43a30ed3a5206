#include "hetero/trainer/report/dry_run.h"

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "hetero/base/counted.h"
#include "hetero/base/status.h"
#include "hetero/params/counts.h"
#include "hetero/params/table.h"
#include "hetero/trainer/step/shard_spec.h"

namespace hetero {
namespace {

std::string NameOf(const StepPlan& plan, const WorkClass& ranks) {
  return absl::StrCat("rank ", ranks.first_rank, " (",
                      plan.ClassName(plan.classes[ranks.rank_class]), ") x ", ranks.num_ranks);
}

std::string InWords(int64_t bytes) {
  constexpr double kMiB = 1 << 20;
  const double mib = static_cast<double>(bytes) / kMiB;
  return mib < 10240 ? absl::StrFormat("%.1f MiB", mib) : absl::StrFormat("%.1f GiB", mib / 1024);
}

std::string FlopsText(double flops) {
  constexpr std::string_view kPrefixes = "MGTPE";
  size_t prefix = 0;
  double shown = flops * 1e-6;
  for (; shown >= 1000 && prefix + 1 < kPrefixes.size(); shown /= 1000) ++prefix;
  return absl::StrFormat("%.3f %cFLOP", shown, kPrefixes[prefix]);
}

// Tokens of a sample that are a module's business.
int64_t NumTokens(const GraphModule& module, const SampleFacts& sample) {
  if (module.owns_samples) return sample.row_length;
  int64_t tokens = 0;
  for (const int modality : module.modalities) tokens += sample.modalities[modality].num_tokens;
  return tokens;
}

// What is saved of the memory that a rank would need without it, and what a step moves and computes
// more.
std::string DescribeRecompute(const ClassPrediction& prediction) {
  const auto bytes_moved = [](const CallLedger& calls) {
    double bytes = 0;
    for (const auto& [name, totals] : calls.operations()) bytes += totals.bytes;
    return bytes;
  };
  const CallLedger& calls = *prediction.calls;
  const CallLedger& without = *prediction.calls_keeping_everything;
  const int64_t before = prediction.memory_keeping_everything->total_bytes();
  const int64_t saved = before - prediction.memory->total_bytes();
  return absl::StrFormat(
      "selective recompute: %s less memory, %.1f %%, for %.3f GB more traffic and "
      "%s more a step",
      InWords(saved), 100 * static_cast<double>(saved) / static_cast<double>(before),
      (bytes_moved(calls) - bytes_moved(without)) * 1e-9,
      FlopsText(calls.total_flops() - without.total_flops()));
}

// How transfers were taken to complete.
std::string_view Rules(const StepPlan& plan) {
  return plan.transfer_model == TransferModel::kSynchronous
             ? "when no transfer completes before both ends wait for it"
             : "when a transfer completes once both ends have posted it and all before it on its "
               "channel";
}

}  // namespace

absl::StatusOr<std::string> DescribeModules(const Model& model, const Layout& layout,
                                            const StepPlan& plan, const SampleFacts& largest) {
  std::vector<std::string> lines;
  const int64_t num_samples = plan.batch.global_batch_size;
  double of_a_step = 0;
  for (const std::string& module : model.graph().ModuleNames()) {
    const Grid& grid = *layout.Find(module);
    ParameterCounts counts;
    int64_t most_on_a_rank = 0;
    for (const RankClass& ranks : plan.classes) {
      int64_t on_the_rank = 0;
      for (const int s : ranks.stages) {
        if (plan.stages[s].module != module) continue;
        const ShardSpec shard = ShardSpecOf(grid, ranks.first_rank, plan.stages[s].place);
        HETERO_ASSIGN_OR_RETURN(const ParameterTable table, model.MakeTable(module, shard));
        counts = CountParameters(table.specs());
        HETERO_ASSIGN_OR_RETURN(const RankParameterCounts of_rank,
                                CountRankParameters(table.specs(), shard));
        on_the_rank += of_rank.held;
      }
      most_on_a_rank = std::max(most_on_a_rank, on_the_rank);
    }
    lines.push_back(absl::StrCat(module, ": ", Counted(counts.all, "parameter"), ", ",
                                 counts.experts, " of experts, ", counts.active,
                                 " used by a token, ", counts.trainable, " trained; at most ",
                                 most_on_a_rank, " on a rank"));
    const Flops flops = model.FlopsOf(module, largest);
    std::string line = absl::StrCat("  forward ", FlopsText(flops.forward), " a sample");
    if (const int64_t tokens = NumTokens(model.graph().Module(module), largest); tokens > 0) {
      absl::StrAppend(&line, ", ", FlopsText(flops.forward / static_cast<double>(tokens)),
                      " for each of its ", Counted(tokens, "token"));
    }
    const double in_training = static_cast<double>(num_samples) * flops.training;
    lines.push_back(absl::StrCat(line, "; ", FlopsText(in_training), " a training step"));
    of_a_step += in_training;
  }
  lines.push_back(absl::StrCat("a training step of ", Counted(num_samples, "sample"), ": ",
                               FlopsText(of_a_step),
                               " at most, whatever the layout and the kernels"));
  return absl::StrJoin(lines, "\n");
}

std::string DescribePrediction(const StepPlan& plan, const ClassPrediction& prediction) {
  const MemoryLedger& memory = *prediction.memory;
  const CallLedger& calls = *prediction.calls;
  std::string text =
      absl::StrCat(NameOf(plan, prediction.ranks), "\n  memory: ", memory.ToString());
  for (int i = 0; i < kNumMemoryLabels; ++i) {
    const auto label = static_cast<MemoryLabel>(i);
    absl::StrAppendFormat(&text, "\n    %-16s %14d", Name(label), memory.bytes(label));
  }
  if (prediction.save_bytes > 0) {
    absl::StrAppendFormat(&text, "\n  checkpoints, host staging %12d", prediction.save_bytes);
  }
  if (prediction.calls_keeping_everything != nullptr &&
      prediction.calls_keeping_everything->total_flops() != calls.total_flops()) {
    absl::StrAppend(&text, "\n  ", DescribeRecompute(prediction));
  }
  absl::StrAppendFormat(&text, "\n  operations: %.3f GFLOP a step at most",
                        calls.total_flops() * 1e-9);
  std::vector<std::pair<std::string_view, OperationTotals>> operations(calls.operations().begin(),
                                                                       calls.operations().end());
  std::ranges::sort(operations, [](const auto& a, const auto& b) {
    return std::pair(-a.second.flops, a.first) < std::pair(-b.second.flops, b.first);
  });
  for (const auto& [name, totals] : operations) {
    absl::StrAppendFormat(&text, "\n    %-32s %6d calls %10.3f MFLOP %10.3f MB", name, totals.calls,
                          totals.flops * 1e-6, totals.bytes * 1e-6);
  }
  const Connections& connections = prediction.connections;
  absl::StrAppend(&text,
                  "\n  connections: ", Counted(connections.num_communicators, "communicator"));
  if (connections.num_communicators > 0) {
    absl::StrAppend(&text, " of at most ", connections.largest, " ranks; messages with ",
                    connections.messages, ", at most ", connections.collectives,
                    " neighbours in collectives");
  }
  absl::StrAppend(&text, "\n  collectives: ", calls.collectives().size(), " a step");
  for (const CollectiveCall& call : calls.collectives()) {
    absl::StrAppendFormat(&text, "\n    %-48s %-16s %10d bytes", call.name, call.kind, call.bytes);
  }
  return text;
}

std::string DescribeProof(const StepPlan& plan, std::span<const StepPlan> smaller,
                          const StepPlan* evaluation,
                          std::span<const ClassPrediction> predictions) {
  int64_t num_ops = 0;
  size_t num_programs = plan.classes.size();
  for (const RankClass& ranks : plan.classes) num_ops += std::ssize(ranks.train);
  for (const StepPlan& sized : smaller) {
    num_programs += sized.classes.size();
    for (const RankClass& ranks : sized.classes) num_ops += std::ssize(ranks.train);
  }
  for (const RankClass& ranks : (evaluation != nullptr ? *evaluation : plan).classes) {
    num_ops += std::ssize(ranks.evaluate);
  }
  int64_t num_ranks = 0;
  int64_t total_bytes = 0;
  int64_t staging_bytes = 0;
  int64_t save_bytes = 0;
  int64_t num_collectives = 0;
  const ClassPrediction* largest = &predictions.front();
  for (const ClassPrediction& prediction : predictions) {
    num_ranks += prediction.ranks.num_ranks;
    const int64_t ranks = prediction.ranks.num_ranks;
    total_bytes += ranks * prediction.memory->device_bytes();
    staging_bytes += ranks * prediction.memory->bytes(MemoryLabel::kHostStaging);
    save_bytes += ranks * prediction.save_bytes;
    num_collectives += std::ssize(prediction.calls->collectives());
    if (prediction.memory->device_bytes() > largest->memory->device_bytes()) largest = &prediction;
  }
  return absl::StrCat(
      "memory of ", Counted(num_ranks, "rank"), ": ", InWords(total_bytes), ", the most ",
      InWords(largest->memory->device_bytes()), " on ", NameOf(plan, largest->ranks),
      "; on their hosts for staging ", InWords(staging_bytes), " and for checkpoints ",
      InWords(save_bytes), "\nproved, whatever the speed of each rank:\n  the ",
      Counted(num_programs, "program"), " of ", Counted(num_ranks, "rank"), ", ",
      Counted(num_ops, "operation"), ", ", num_programs == 1 ? "comes" : "come", " to an end ",
      Rules(plan),
      "\n  whatever is sent over an edge is received at its other end in the same order, and every "
      "rank waits for what it posts\nran on shapes, on one rank of each class:\n  a training step",
      evaluation != nullptr ? " and an evaluation" : "", ": every operation and all ",
      Counted(num_collectives, "collective"), " of a step take what they are given");
}

}  // namespace hetero
