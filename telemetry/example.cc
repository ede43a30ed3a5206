// Records three steps of a pretended rank and writes a TensorBoard file and a trace below argv[1].

#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "hetero/base/status.h"
#include "hetero/telemetry/chrome_trace.h"
#include "hetero/telemetry/event_file.h"
#include "hetero/telemetry/flight_ring.h"
#include "hetero/telemetry/spans.h"

namespace {

absl::Status RecordThreeSteps(const std::string& folder) {
  HETERO_ASSIGN_OR_RETURN(std::unique_ptr<hetero::EventFile> events,
                          hetero::EventFile::Create(folder));
  hetero::FlightRing ring(/*capacity=*/256);
  hetero::SpanBuffer spans(/*capacity=*/100'000);
  for (int step = 1; step <= 3; ++step) {
    {
      hetero::Span span(&spans, "step", "step");
      hetero::FlightCall call(&ring, "llm.dp.grad.bucket0", "all_reduce", "threads[0,1] llm.dp");
      absl::SleepFor(absl::Milliseconds(1));
      call.End();
    }
    events->AddScalars(step, absl::Now(), std::vector<hetero::Scalar>{{"lm loss", 6.0 / step}});
  }
  std::cout << ring.ToText("rank 0");
  HETERO_RETURN_IF_ERROR(events->Close());
  return hetero::WriteChromeTrace(
      folder + "/trace.json",
      std::vector<hetero::TraceTrack>{{0, "language model", 0, "rank 0", &spans}});
}

}  // namespace

int main(int argc, char** argv) {
  const absl::Status status = RecordThreeSteps(argc > 1 ? argv[1] : ".");
  if (!status.ok()) std::cerr << status << "\n";
  return status.ok() ? 0 : 1;
}
