#include "hetero/trainer/config/testing/swept_numbers.h"

#include "absl/strings/str_cat.h"
#include "google/protobuf/any.pb.h"
#include "google/protobuf/message.h"
#include "gtest/gtest.h"
#include "hetero/models/avlm/avlm.pb.h"
#include "hetero/models/nemotron/hybrid.pb.h"
#include "hetero/models/vlm/vlm.pb.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

namespace pb = ::google::protobuf;

using pb::FieldDescriptor;

bool IsNumber(const FieldDescriptor& field) {
  return field.cpp_type() == FieldDescriptor::CPPTYPE_INT64 ||
         field.cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE;
}

void AddNumbers(const pb::Message& message, const std::string& prefix,
                std::vector<ConfigNumber>& numbers) {
  if (const auto* any = dynamic_cast<const pb::Any*>(&message)) {
    if (proto::VisionLanguageModel model; any->UnpackTo(&model)) {
      return AddNumbers(model, prefix, numbers);
    }
    proto::AudioVisionLanguageModel model;
    ASSERT_TRUE(any->UnpackTo(&model));
    return AddNumbers(model, prefix, numbers);
  }
  const pb::Reflection& reflection = *message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    const std::string path = absl::StrCat(prefix, field->name());
    if (IsNumber(*field)) numbers.push_back({path, field});
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
    if (!field->is_repeated()) {
      AddNumbers(reflection.GetMessage(message, field), absl::StrCat(path, "."), numbers);
      continue;
    }
    for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
      AddNumbers(reflection.GetRepeatedMessage(message, field, i), absl::StrCat(path, "[", i, "]."),
                 numbers);
    }
  }
}

void AddDeclared(const pb::Descriptor& message, std::set<const FieldDescriptor*>& declared) {
  if (&message == pb::Any::descriptor()) return;
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    if (IsNumber(field)) declared.insert(&field);
    if (field.message_type() != nullptr) AddDeclared(*field.message_type(), declared);
  }
}

}  // namespace

std::vector<proto::RunConfig> SweptConfigs() {
  const std::vector<std::string> common = {
      "launch=threads:2",
      "grids[0]={name: \"radio_encoder\" num_ranks: 1 rank_offset: 0 tp: 1 cp: 1 pp: 1 "
      "gtp_remat: 1 ep: 1 expt_tp: 1 expt_gtp_remat: 1}",
      "grids[1]={name: \"language\" num_ranks: 1 rank_offset: 1}",
      "micro_batch_size=2",
      "global_batch_size=4",
      "collective_timeout_seconds=60",
      "arrival_timeout_seconds=60",
      "divergence_steps=5",
      "spike_guard={factor: 3 window_steps: 5 max_capsules: 2}",
      "evaluation={interval_steps: 2 first_step: 2 num_batches: 1 micro_batch_size: 2 "
      "global_batch_size: 4}",
      "stop_after_minutes=5",
      "stop_every_steps=1000",
      "skip_steps=[2, 3]",
      "compare_replicas_every_steps=2",
      "checkpoint.save={interval_steps: 5 interval_minutes: 1 keep_last: 2 keep_every: 10 "
      "host_bytes: 100000000 max_failures: 2 grace_seconds: 30}",
      "checkpoint.load={folder: \"latest\" allow_fresh_start: true iteration: 5 max_fallbacks: 2}",
      "model.projector={kind: MLP norm: RMS ffn_size: 64 norm_epsilon: 1e-5 init_std: 0.05 "
      "output_init_std: 0.05}",
      "model.encoder.layer_scale_init=0.1",
      "model.language.pattern=M*E-",
      "model.language.mlp={ffn_size: 64}",
      "model.language.logits_chunk_rows=100",
      "model.language.experts.expert_rows_bound=2",
      "model.language.experts.num_groups=4",
      "model.language.experts.top_k_groups=2",
      "model.language.mamba.min_time_step=1e-3",
      "model.language.mamba.max_time_step=10",
      "optimizer.weight_decay_schedule={style: LINEAR start: 0.01}",
      "optimizer.buckets.bucket_elements=1000",
      "optimizer.per_module[0]={module: \"radio_encoder\" learning_rate_scale: 0.5 "
      "weight_decay: 0.02 clip_share: 0.5 buckets {num_buckets: 2}}",
      "schedule.style=WARMUP_STABLE_DECAY",
      "schedule.tail=TAIL_LINEAR"};
  const auto base = [&](std::vector<std::string> assignments) {
    assignments.insert(assignments.begin(), common.begin(), common.end());
    return RecipeConfig("fashion_tiny", assignments);
  };
  return {base({"train_steps=20", "schedule.warmup_steps=4", "schedule.decay_steps=20",
                "schedule.tail_steps=4"}),
          base({"train_samples=80", "schedule.warmup_samples=16", "schedule.decay_samples=80",
                "schedule.tail_samples=16",
                "data.web_dataset={train: \"a\" evaluation: \"a\" min_patches: 4 max_patches: 64 "
                "end_token_id: 256}",
                "data.packing={max_patches: 96 max_images: 4 buffer_size: 16}"}),
          base({"train_steps=20", "schedule.warmup_steps=4", "schedule.tail_steps=4",
                "data.tokenizer=t",
                "data.conversations={train: \"a\" evaluation: \"a\" "
                "images: {min_patches: 4 max_patches: 64 max_count: 2}}",
                "data.quarantine={max_samples: 20}", "data.loader_timeout_seconds=30"}),
          base({"train_steps=20", "schedule.warmup_steps=4", "schedule.tail_steps=4",
                "data.web_dataset={train: \"a\" evaluation: \"a\" end_token_id: 256 "
                "tiles: {tile_size: 16 max_tiles: 4}}",
                "data.energon_order={num_workers: 2 shuffle_buffer_size: 100 "
                "max_samples_per_sequence: 100}"}),
          base({"train_steps=20", "schedule.warmup_steps=4", "schedule.tail_steps=4",
                "data.mock={num_image_tokens: 16 text_vocabulary: 100 num_samples: 50 "
                "max_images: 3 min_image_patches: 4 max_image_patches: 36}"}),
          RecipeConfig("mock_avlm_tiny",
                       {"launch=threads:4", "radio_encoder.num_ranks=1", "radio_encoder.pp=1",
                        "audio_encoder.rank_offset=1", "language.num_ranks=2", "language.pp=2",
                        "language.rank_offset=2", "pipeline_chunks=2"})};
}

std::vector<ConfigNumber> NumbersOf(const proto::RunConfig& config) {
  std::vector<ConfigNumber> numbers;
  AddNumbers(config, "", numbers);
  return numbers;
}

std::set<const FieldDescriptor*> DeclaredNumbers() {
  std::set<const FieldDescriptor*> declared;
  AddDeclared(*proto::RunConfig::descriptor(), declared);
  AddDeclared(*proto::AudioVisionLanguageModel::descriptor(), declared);
  AddDeclared(*proto::VisionLanguageModel::descriptor(), declared);
  AddDeclared(*proto::HybridLanguageModel::descriptor(), declared);
  return declared;
}

}  // namespace hetero
