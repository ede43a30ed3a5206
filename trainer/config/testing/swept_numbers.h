#ifndef HETERO_TRAINER_CONFIG_TESTING_SWEPT_NUMBERS_H_
#define HETERO_TRAINER_CONFIG_TESTING_SWEPT_NUMBERS_H_

// Every number that a configuration has, for tests that sweep them.

#include <set>
#include <string>
#include <vector>

#include "google/protobuf/descriptor.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero {

// Small configurations that together set every number there is.
std::vector<proto::RunConfig> SweptConfigs();

struct ConfigNumber {
  std::string path;  // as SetField takes it
  const google::protobuf::FieldDescriptor* field = nullptr;
};

// Those that `config` sets, with those of its model.
std::vector<ConfigNumber> NumbersOf(const proto::RunConfig& config);

// Of the run's configuration and of all models.
std::set<const google::protobuf::FieldDescriptor*> DeclaredNumbers();

}  // namespace hetero

#endif  // HETERO_TRAINER_CONFIG_TESTING_SWEPT_NUMBERS_H_
