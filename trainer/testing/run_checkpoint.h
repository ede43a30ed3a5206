#ifndef HETERO_TRAINER_TESTING_RUN_CHECKPOINT_H_
#define HETERO_TRAINER_TESTING_RUN_CHECKPOINT_H_

// Runs of which checkpoints are kept, and what they leave: found, compared, damaged.

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "hetero/ckpt/inspect/difference.h"
#include "hetero/trainer/run_config.pb.h"
#include "nlohmann/json.hpp"

namespace hetero {

// Eight steps of mock_vlm_tiny: an encoder and a language model with experts, whose bias is state
// too.
proto::RunConfig EightSteps(std::vector<std::string> assignments);

// What is in a folder below TestFolder(), in order, hidden files left out.
std::vector<std::string> NamesIn(const std::filesystem::path& folder);

// Below TestFolder().
std::filesystem::path CheckpointIn(std::string_view folder, int iteration);

// Every byte of weights, masters and moments. Fails the test where one cannot be opened.
DifferenceReport CompareCheckpoints(const std::filesystem::path& first,
                                    const std::filesystem::path& second);

// Some bytes of its tensors are others afterwards.
void DamageCheckpoint(const std::filesystem::path& checkpoint);

// Without our manifest it is one of others.
void MakeForeign(const std::filesystem::path& checkpoint);

// Of the newest run in the folder of `config`.
nlohmann::json ResumeReport(const proto::RunConfig& config);

}  // namespace hetero

#endif  // HETERO_TRAINER_TESTING_RUN_CHECKPOINT_H_
