#ifndef HETERO_TRAINER_TIMING_FIT_RATES_H_
#define HETERO_TRAINER_TIMING_FIT_RATES_H_

// Rates that explain measured times best.

#include <span>

namespace hetero {

struct MeasuredTime {
  double calls = 0;
  double flops = 0;
  double bytes = 0;
  double seconds = 0;
};

// seconds = calls * call + flops * flop + bytes * byte, none of them negative.
struct FittedRates {
  double call = 0;
  double flop = 0;
  double byte = 0;

  double Seconds(const MeasuredTime& of) const {
    return of.calls * call + of.flops * flop + of.bytes * byte;
  }
};

// The least sum of squared relative errors. Times of zero are left out; without any other all rates
// are 0.
FittedRates FitRates(std::span<const MeasuredTime> times);

}  // namespace hetero

#endif  // HETERO_TRAINER_TIMING_FIT_RATES_H_
