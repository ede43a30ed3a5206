#ifndef HETERO_DATA_ENERGON_SAMPLE_REFERENCE_H_
#define HETERO_DATA_ENERGON_SAMPLE_REFERENCE_H_

#include <cstdint>

namespace hetero::data {

// A sample of one of several data sets.
struct SampleReference {
  int64_t data_set = 0;
  int64_t place = 0;  // in its split, whose excluded samples count

  friend constexpr bool operator==(const SampleReference&, const SampleReference&) = default;
};

}  // namespace hetero::data

#endif  // HETERO_DATA_ENERGON_SAMPLE_REFERENCE_H_
