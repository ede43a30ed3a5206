#ifndef HETERO_DATA_WEBDATASET_EXCLUSIONS_H_
#define HETERO_DATA_WEBDATASET_EXCLUSIONS_H_

#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace hetero::data {

// An exclude list whose entries are looked up while a data set is prepared.
class Exclusions {
 public:
  // `patterns` as SplitConfig::exclude. Errors: INVALID_ARGUMENT for braces that do not close.
  static absl::StatusOr<Exclusions> Of(std::span<const std::string> patterns);

  // Whether an entry is `name`, a shard or "shard/key".
  bool Contains(const std::string& name);

  // The entries that were asked for, patterns where all of their names were; and the names that
  // were not.
  std::vector<std::string> Found() const;
  std::vector<std::string> NotFound() const;

 private:
  Exclusions() = default;

  std::vector<std::pair<std::string, std::vector<std::string>>> patterns_;
  std::unordered_map<std::string, bool> found_;
};

}  // namespace hetero::data

#endif  // HETERO_DATA_WEBDATASET_EXCLUSIONS_H_
