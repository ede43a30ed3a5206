#ifndef HETERO_CKPT_PUBLISH_NAMES_H_
#define HETERO_CKPT_PUBLISH_NAMES_H_

// Names in a folder of checkpoints.
//
//   latest_checkpointed_iteration.txt   the tracker
//   iter_0000010                        a published checkpoint
//   .iter_0000010.<save id>             one that is being written
//   .trash.*                            what is being deleted
//   .lease, .lease.*                    who saves here
//   .reader.<checkpoint>.*              who reads one
//   .run                                whose checkpoints these are
//   best.json                           which of them evaluations liked best

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace hetero {

inline constexpr std::string_view kTrackerName = "latest_checkpointed_iteration.txt";
inline constexpr std::string_view kReleaseName = "release";
inline constexpr std::string_view kLeaseName = ".lease";
inline constexpr std::string_view kTrashPrefix = ".trash.";
inline constexpr std::string_view kReaderPrefix = ".reader.";
inline constexpr std::string_view kRunName = ".run";
inline constexpr std::string_view kBestName = "best.json";
inline constexpr std::string_view kTemporarySuffix = ".tmp";

// "iter_0000010". Precondition: `iteration` is not negative.
std::string IterationName(int64_t iteration);

// The iteration of a name that IterationName gives, else none.
std::optional<int64_t> ParseIterationName(std::string_view name);

// ".iter_0000010.<save id>".
std::string StagingName(int64_t iteration, std::string_view save_id);
bool IsStagingName(std::string_view name);

// 16 hexadecimal digits that nobody else draws.
std::string UniqueToken();

}  // namespace hetero

#endif  // HETERO_CKPT_PUBLISH_NAMES_H_
