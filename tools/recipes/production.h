#ifndef HETERO_TOOLS_RECIPES_PRODUCTION_H_
#define HETERO_TOOLS_RECIPES_PRODUCTION_H_

// The recipes of a Nemotron-style vision-language model from 8 to 800 ranks, from one table: every
// value is written out in each of them, and a script for Slurm belongs to each.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace hetero {

// Lengths in samples. decay: end of the decay from the start of the run; 0: the end of the run.
struct ProductionSchedule {
  int64_t train_samples = 0;
  int64_t warmup_samples = 0;
  int64_t decay_samples = 0;
  int64_t tail_samples = 0;
};

// A row of the table. Encoder ranks come first; each side has one pipeline stage.
struct ProductionShape {
  std::string_view name;
  std::string_view about;   // a sentence, for --list_recipes
  int64_t num_layers = 54;  // symbols of the pattern, 20 or 54
  int64_t encoder_ranks = 0;
  int64_t encoder_tp = 1;
  int64_t language_ranks = 0;
  int64_t language_tp = 2;
  int64_t language_ep = 8;
  int64_t global_batch_size = 0;
  int64_t train_steps = 0;      // of a short run, else
  ProductionSchedule schedule;  // in samples
};

std::span<const ProductionShape> ProductionShapes();

// Text format of a hetero.proto.RunConfig.
std::string RecipeText(const ProductionShape& shape);

// For sbatch, on machines of `gpus_per_node`.
std::string SlurmScript(const ProductionShape& shape, int64_t gpus_per_node = 8);

}  // namespace hetero

#endif  // HETERO_TOOLS_RECIPES_PRODUCTION_H_
