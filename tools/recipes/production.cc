#include "hetero/tools/recipes/production.h"

#include <array>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace hetero {
namespace {

constexpr std::string_view kPattern20 = "MEMEM*EMEMEM*EMEMEM*";
constexpr std::string_view kPattern54 = "MEMEM*EMEM*EMEM*EMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEME";
static_assert(kPattern20.size() == 20 && kPattern54.size() == 54);

constexpr ProductionSchedule kParity = {.train_samples = 36621094,
                                        .warmup_samples = 1024000,
                                        .decay_samples = 35597094,
                                        .tail_samples = 5493164};
// 1.0e12 tokens in sequences of 8192; the tail is 15 % of them.
constexpr ProductionSchedule kProduction = {.train_samples = 122070313,
                                            .warmup_samples = 1024000,
                                            .decay_samples = 121046313,
                                            .tail_samples = 18310547};

constexpr std::array<ProductionShape, 8> kShapes = {{
    {.name = "nemotron_20l_mock",
     .about = "Nemotron, 20 layers, on 8 GPUs, random pixels and text: what a machine can do.",
     .num_layers = 20,
     .encoder_ranks = 4,
     .encoder_tp = 2,
     .language_ranks = 4,
     .language_tp = 2,
     .language_ep = 4,
     .global_batch_size = 8,
     .train_steps = 10},
    {.name = "nemotron_20l_mock_ep2",
     .about = "As nemotron_20l_mock with ep 2: what it is compared with.",
     .num_layers = 20,
     .encoder_ranks = 4,
     .encoder_tp = 2,
     .language_ranks = 4,
     .language_tp = 2,
     .language_ep = 2,
     .global_batch_size = 8,
     .train_steps = 10},
    {.name = "nemotron_54l_9n",
     .about = "Nemotron, 54 layers, on 9 nodes of 8 GPUs, for comparison with the reference.",
     .encoder_ranks = 8,
     .language_ranks = 64,
     .language_ep = 16,
     .global_batch_size = 768,
     .schedule = kParity},
    {.name = "nemotron_54l_9n_gbs192",
     .about = "As nemotron_54l_9n with a quarter of the batch.",
     .encoder_ranks = 8,
     .language_ranks = 64,
     .language_ep = 16,
     .global_batch_size = 192,
     .schedule = kParity},
    {.name = "nemotron_54l_17n",
     .about = "Nemotron, 54 layers, on 17 nodes of 8 GPUs, one encoder rank for 8 language lanes.",
     .encoder_ranks = 8,
     .language_ranks = 128,
     .global_batch_size = 384,
     .schedule = kProduction},
    {.name = "nemotron_54l_33n",
     .about = "Nemotron, 54 layers, on 33 nodes of 8 GPUs, one encoder rank for 16 language lanes.",
     .encoder_ranks = 8,
     .language_ranks = 256,
     .global_batch_size = 768,
     .schedule = kProduction},
    {.name = "nemotron_54l_68n",
     .about = "Nemotron, 54 layers, on 68 nodes of 8 GPUs, one encoder rank for 8 language lanes.",
     .encoder_ranks = 32,
     .language_ranks = 512,
     .global_batch_size = 768,
     .schedule = kProduction},
    {.name = "nemotron_54l_100n",
     .about = "Nemotron, 54 layers, on 100 nodes of 8 GPUs, an encoder rank for 12 language lanes.",
     .encoder_ranks = 32,
     .language_ranks = 768,
     .global_batch_size = 768,
     .schedule = kProduction},
}};

// Standard deviation of weights, and of those that write to the residual stream: over the square
// root of the language model's depth, in the encoder too.
constexpr std::string_view kInitStd = "0.0173";
std::string_view OutputInitStd(const ProductionShape& shape) {
  return shape.num_layers == 20 ? "0.00386839760" : "0.00235423180";
}

std::string Encoder(const ProductionShape& shape) {
  const bool mock = shape.num_layers == 20;
  return absl::StrFormat(
      R"(    encoder {
      num_layers: 32
      hidden_size: 1280
      num_heads: 16
      head_dim: 80
      ffn_size: 5120
      patch_size: 16
      max_image_side: 2048
      num_class_tokens: %d
      norm_epsilon: 1e-6
      final_norm: true
      init_std: %s
      output_init_std: %s
      embedder_init_std: 1
      class_token_init_std: 1
      position_init_std: 0.0279508497
      gelu: TANH
    }
)",
      mock ? 8 : 10, kInitStd, OutputInitStd(shape));
}

std::string Projector(const ProductionShape& shape) {
  if (shape.num_layers == 20) {
    return absl::StrFormat("    projector { kind: AFFINE norm: NONE init_std: %s }\n", kInitStd);
  }
  return absl::StrFormat(
      R"(    projector {
      kind: MLP
      norm: RMS
      norm_epsilon: 1e-5
      ffn_size: 20480
      init_std: %s
      output_init_std: %s
    }
)",
      kInitStd, OutputInitStd(shape));
}

std::string Language(const ProductionShape& shape) {
  return absl::StrFormat(
      R"(    language {
      pattern: "%s"
      hidden_size: 2688
      vocabulary_size: 131072
      norm_epsilon: 1e-5
      init_std: %s
      output_init_std: %s
      attention { num_heads: 32 head_dim: 128 num_kv_groups: 8 use_bias: false }
      mamba {
        num_heads: 64
        head_dim: 64
        num_groups: 8
        state_size: 128
        conv_kernel: 4
        chunk_size: 128
        conv_bias: true
        use_bias: false
      }
      experts {
        num_experts: 128
        top_k: 6
        ffn_size: 1856
        shared_ffn_size: 3712
        router_scaling: 2.5
        aux_loss_coefficient: 1e-4
        expert_bias_rate: 1e-3
        force_load_balancing: false
        update_bias_on_skip: true
        normalize_probabilities: true
      }
      tie_embeddings: false
    }
)",
      shape.num_layers == 20 ? kPattern20 : kPattern54, kInitStd, OutputInitStd(shape));
}

std::string Grids(const ProductionShape& shape) {
  return absl::StrFormat(
      R"(grids { name: "radio_encoder" num_ranks: %d rank_offset: 0 tp: %d pp: 1 }
grids {
  name: "language"
  num_ranks: %d
  rank_offset: %d
  tp: %d
  pp: 1
  ep: %d
  expt_tp: 1
}
)",
      shape.encoder_ranks, shape.encoder_tp, shape.language_ranks, shape.encoder_ranks,
      shape.language_tp, shape.language_ep);
}

std::string Duration(const ProductionShape& shape) {
  if (shape.train_steps > 0) return absl::StrFormat("train_steps: %d\n", shape.train_steps);
  return absl::StrFormat("train_samples: %d\n", shape.schedule.train_samples);
}

std::string Schedule(const ProductionShape& shape) {
  if (shape.train_steps > 0) {
    return "schedule { style: COSINE peak: 2e-4 minimum: 2e-6 warmup_steps: 0 }\n";
  }
  return absl::StrFormat(
      R"(schedule {
  style: WARMUP_STABLE_DECAY
  peak: 1.2e-3
  minimum: 1.2e-5
  initial: 0
  warmup_samples: %d
  decay_samples: %d
  tail_samples: %d
  tail: TAIL_MINUS_SQRT
}
)",
      shape.schedule.warmup_samples, shape.schedule.decay_samples, shape.schedule.tail_samples);
}

std::string Logging(const ProductionShape& shape) {
  const bool is_short = shape.train_steps > 0;
  std::string text = absl::StrFormat(
      R"(logging { folder: "runs/%s" console_interval_steps: %d event_interval_steps: 1 }
)",
      shape.name, is_short ? 1 : 100);
  if (!is_short)
    absl::StrAppend(&text, "checkpoint { save { interval_steps: 1000 keep_last: 3 } }\n");
  return text;
}

}  // namespace

std::span<const ProductionShape> ProductionShapes() { return kShapes; }

std::string RecipeText(const ProductionShape& shape) {
  const int64_t num_ranks = shape.encoder_ranks + shape.language_ranks;
  const int64_t lanes = shape.language_ranks / shape.language_tp;
  std::string text = absl::StrFormat(
      R"(# proto-file: hetero/trainer/run_config.proto
# proto-message: hetero.proto.RunConfig
#
# Written by //tools:recipes. %d ranks: %d language lanes, %d for each of %d encoder lanes, %d
# microbatches a step. Every value is here; fields that are not set are what the program's messages
# say of them.
)",
      num_ranks, lanes, lanes / (shape.encoder_ranks / shape.encoder_tp),
      shape.encoder_ranks / shape.encoder_tp, shape.global_batch_size / lanes);
  if (shape.train_steps == 0) {
    absl::StrAppend(&text,
                    R"(#
# What differs from the reference's recipe: tp 2 for tp 4, ep as below for 16, the encoder on ranks
# of its own. Samples are random until a data set takes the place of data.mock.
)");
  }
  absl::StrAppendFormat(&text,
                        R"(
description: "%s"

model {
  [type.googleapis.com/hetero.proto.VisionLanguageModel] {
%s%s%s    image_token_id: 511
    freeze_encoder: true
    freeze_projector: false
    freeze_language: false
  }
}

launch: "processes:%d"
device: CUDA
precision: BF16
collective_timeout_seconds: 300
divergence_steps: 10
%s
sequence_length: 8192
micro_batch_size: 1
global_batch_size: %d
%sseed: 1234
encoder_run_ahead: 2
pipeline_chunks: 1
split_backward: false

data { mock { num_image_tokens: 4096 text_vocabulary: 131072 } pad_token_id: 0 }

optimizer {
  adamw { beta1: 0.9 beta2: 0.95 epsilon: 1e-8 weight_decay: %s }
  clip_gradient_norm: 1
  buckets { num_buckets: 8 pad_for_bus_bandwidth: true }
  correct_partial_participation: false
}
%s
%s)",
                        shape.about, Encoder(shape), Projector(shape), Language(shape), num_ranks,
                        Grids(shape), shape.global_batch_size, Duration(shape),
                        shape.train_steps > 0 ? "0.05" : "0.1", Schedule(shape), Logging(shape));
  return text;
}

std::string SlurmScript(const ProductionShape& shape, int64_t gpus_per_node) {
  const int64_t num_ranks = shape.encoder_ranks + shape.language_ranks;
  return absl::StrFormat(
      R"script(#!/bin/bash
# Written by //tools:recipes: %s on %d nodes, a process for each GPU.
#
#   sbatch --export=ALL,HETERO=/path/to/hetero,FOLDER=/fast/run %s.sbatch [FLAG...]
#
# FOLDER keeps the checkpoints; the same command again goes on from the last. FLAGs are hetero's, as
# --set data=... of a data set or --load=... of the weights to begin with. Five minutes before its
# time is over the job saves and starts itself again, and so it does when a rank is lost.
#SBATCH --job-name=%s
#SBATCH --nodes=%d
#SBATCH --ntasks-per-node=%d
#SBATCH --gpus-per-node=%d
#SBATCH --exclusive
#SBATCH --time=04:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%%x-%%j.log
set -uo pipefail

: "${HETERO:?the built program, the same path on all nodes}"
: "${FOLDER:?where checkpoints are kept}"
export MASTER_ADDR=${MASTER_ADDR:-$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)}
export MASTER_PORT=${MASTER_PORT:-29500}

# A signal to the job is the ranks' business: this shell waits for what they make of it.
trap '' TERM
code=0
srun --kill-on-bad-exit=0 "$HETERO" --recipe=%s --save="$FOLDER" --load=latest \
  --set checkpoint.load.allow_fresh_start=true "$@" || code=$?

# 6: it was told to stop, and has saved. 4: a rank was lost. 128 and more: a signal ended a rank, as
# when it is killed or out of memory. Other failures would come again.
case $code in
  4 | 6 | 12[89] | 1[3-9]? | 2??) ;;
  *) exit $code ;;
esac
if [ -e "$FOLDER/stop" ]; then
  echo "$FOLDER/stop: the run is not started again"
  exit $code
fi
if [ $code -ne 6 ]; then
  # What loses ranks again and again before it saves would be started for ever.
  mkdir -p "$FOLDER"
  saved=$(cat "$FOLDER/latest_checkpointed_iteration.txt" 2>/dev/null || echo none)
  echo "$saved" >>"$FOLDER/lost_ranks.txt"
  if [ "$(grep -cFx "$saved" "$FOLDER/lost_ranks.txt")" -ge 5 ]; then
    echo "ranks were lost 5 times with iteration $saved as the last saved: the run is not started again"
    exit $code
  fi
fi
scontrol requeue "$SLURM_JOB_ID"
)script",
      shape.name, num_ranks / gpus_per_node, shape.name, shape.name, num_ranks / gpus_per_node,
      gpus_per_node, gpus_per_node, shape.name);
}

}  // namespace hetero
