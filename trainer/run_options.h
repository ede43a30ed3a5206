#ifndef HETERO_TRAINER_RUN_OPTIONS_H_
#define HETERO_TRAINER_RUN_OPTIONS_H_

// What a run is asked for.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "hetero/comm/rendezvous/rendezvous.h"
#include "hetero/trainer/report/metrics.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero {

struct RunOptions {
  proto::RunConfig config = {};
  std::vector<std::string> notes = {};        // sentences to begin with, on how `config` came to be
  std::filesystem::path working_folder = {};  // what relative folders of the configuration begin at
  std::string program = {};                   // one line on what runs, kept with the configuration
  // Of the one rank that this process is; null: all ranks are threads of it.
  Rendezvous* rendezvous = nullptr;
  int64_t local_rank = 0;  // of that process among those of its machine
  bool dry_run = false;
  bool print_config = false;
  bool profile = false;  // print where the time of a step went
  // Where to write what every rank did when, as a Chrome trace, after the run or its failure;
  // empty: nothing is recorded. Relative to `working_folder`.
  std::filesystem::path trace = {};
  // Where to draw the layout, before anything runs, in a dry run as well; empty: nowhere. Relative
  // to `working_folder`.
  std::filesystem::path picture = {};
  // In a dry run: the machine for which the time of a step is predicted, as LoadMachine takes it;
  // empty: none.
  std::string machine = {};
  // A step to look inside of, where training then ends: DescribeWalk is told.
  struct Walk {
    int64_t step = -1;  // from 0; -1: none
    std::function<void(std::string_view)> tell = {};
  };
  Walk walk = {};
  // Told of every step, on the thread of the rank that logs; may be empty.
  std::function<void(const StepMetrics&)> on_step = {};
  // Called instead of an endless wait when the run has failed with `failure` and some rank never
  // comes back: ends the process, whose threads still use all arguments of Run. RunRanksOptions has
  // more. Empty: Run waits.
  std::function<void(const absl::Status& failure)> on_stuck = {};
};

}  // namespace hetero

#endif  // HETERO_TRAINER_RUN_OPTIONS_H_
