#ifndef HETERO_DATA_PACKING_PLAN_ROWS_H_
#define HETERO_DATA_PACKING_PLAN_ROWS_H_

// Which samples of a data set share rows in every epoch of a run.

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "hetero/data/file/long_work.h"
#include "hetero/data/packing/packer.h"
#include "hetero/data/row_table.h"
#include "hetero/data/source.h"

namespace hetero::data {

struct RowPlanOptions {
  PackLimits limits;
  int64_t buffer_size = 128;
  uint64_t seed = 0;  // of the order in which samples come to the buffer
  int num_modalities = 0;
  int64_t patches_per_token = 1;  // of an image
};

struct RowPlan {
  std::shared_ptr<const RowTable> rows;
  double fill_rate = 0;  // of the rows' places, the share with a token
};

// Reads every sample of the source but for its pixels, and packs them with SelectGreedy, rows of
// less than 98 % put back; samples without tokens are in no row. The same for the same options and
// data set, whoever asks. Errors: INVALID_ARGUMENT naming a sample that no row can hold; those of
// the source; CANCELLED.
absl::StatusOr<RowPlan> PlanRows(SampleSource& source, const RowPlanOptions& options,
                                 const LongWork& work);

}  // namespace hetero::data

#endif  // HETERO_DATA_PACKING_PLAN_ROWS_H_
