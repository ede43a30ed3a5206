#ifndef HETERO_TRAINER_REPORT_RANK_ACCOUNT_H_
#define HETERO_TRAINER_REPORT_RANK_ACCOUNT_H_

// What a rank did and waited for, as text that one process of a run sends another.

#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "hetero/trainer/report/profile.h"
#include "hetero/trainer/report/waits.h"

namespace hetero {

struct RankAccount {
  RankProfile profile;
  std::optional<RankWaits> waits = {};  // unset: nobody counted them
};

std::string ToText(const RankAccount& account);

// Names of operations are kept in `names`, which outlives the account. Errors: INVALID_ARGUMENT
// where `text` is not from ToText.
absl::StatusOr<RankAccount> ParseRankAccount(std::string_view text, std::set<std::string>& names);

}  // namespace hetero

#endif  // HETERO_TRAINER_REPORT_RANK_ACCOUNT_H_
