#include "hetero/ckpt/publish/lease.h"

#include <optional>
#include <utility>
#include <vector>

#include "absl/log/log.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "hetero/base/status.h"
#include "hetero/base/thread.h"
#include "hetero/ckpt/publish/names.h"
#include "nlohmann/json.hpp"

namespace hetero {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int64_t kMostBytes = 1 << 16;

// Rounds of looking and trying: each lost one means that another run has taken a step.
constexpr int kMostRounds = 1000;

struct Holder {
  std::string run_id;
  std::string token;
  ProcessMark process;
  absl::Time expires;
  fs::path path;  // of the file that says so
};

std::string HolderText(const Holder& holder) {
  json text = holder.process.ToJson();
  text["run_id"] = holder.run_id;
  text["token"] = holder.token;
  text["expires_us"] = absl::ToUnixMicros(holder.expires);
  return text.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

fs::path BeatPath(const fs::path& folder, std::string_view token) {
  return folder / absl::StrCat(kLeaseName, ".", token, ".beat");
}

fs::path NextPath(const fs::path& folder, std::string_view token) {
  return folder / absl::StrCat(kLeaseName, ".", token, ".next");
}

// NOT_FOUND when there is no such file.
absl::StatusOr<Holder> ReadHolder(Storage& storage, const fs::path& path) {
  HETERO_ASSIGN_OR_RETURN(const std::string text, ReadText(storage, path, kMostBytes));
  const json parsed = json::parse(text, nullptr, /*allow_exceptions=*/false);
  const auto is_text = [&](const char* name) {
    return parsed.contains(name) && parsed[name].is_string();
  };
  if (!parsed.is_object() || !is_text("run_id") || !is_text("token") ||
      !parsed.contains("expires_us") || !parsed["expires_us"].is_number_integer()) {
    return absl::DataLossError(absl::StrCat(
        path.native(), ": this lease cannot be read; remove it when no run saves there"));
  }
  return Holder{.run_id = parsed["run_id"],
                .token = parsed["token"],
                .process = ProcessMarkOf(parsed),
                .expires = absl::FromUnixMicros(parsed["expires_us"].get<int64_t>()),
                .path = path};
}

// The holder of a folder's lease as of now, or none.
absl::StatusOr<std::optional<Holder>> FindHolder(Storage& storage, const fs::path& folder) {
  absl::StatusOr<Holder> holder = ReadHolder(storage, folder / kLeaseName);
  if (absl::IsNotFound(holder.status())) return std::nullopt;
  while (holder.ok()) {
    absl::StatusOr<Holder> next = ReadHolder(storage, NextPath(folder, holder->token));
    if (absl::IsNotFound(next.status())) break;
    holder = std::move(next);
  }
  HETERO_RETURN_IF_ERROR(holder);
  int64_t expires_us = 0;
  const absl::StatusOr<std::string> beat =
      ReadText(storage, BeatPath(folder, holder->token), kMostBytes);
  if (beat.ok() && absl::SimpleAtoi(*beat, &expires_us)) {
    holder->expires = absl::FromUnixMicros(expires_us);
  }
  return *std::move(holder);
}

bool IsBelieved(const Holder& holder, absl::Time now) {
  return now <= holder.expires && !HasEnded(holder.process);
}

// "run "r7", process 4711 on host gpu3".
std::string Describe(const Holder& holder) {
  return absl::StrCat("run \"", holder.run_id, "\", ", holder.process.ToString());
}

absl::Status HeldError(const fs::path& folder, const Holder& holder, absl::Time now) {
  return absl::FailedPreconditionError(
      absl::StrCat(folder.native(), ": ", Describe(holder),
                   ", saves there; end it, save in another folder, or wait ",
                   absl::FormatDuration(absl::Ceil(holder.expires - now, absl::Seconds(1))),
                   " if its machine is gone"));
}

// Takes the lease for `mine`. ALREADY_EXISTS when another was faster and all is to be looked at
// again.
absl::Status TryToTake(Storage& storage, const fs::path& folder, Holder mine,
                       const LeaseOptions& options) {
  HETERO_ASSIGN_OR_RETURN(const std::optional<Holder> before, FindHolder(storage, folder));
  const absl::Time now = options.now();
  if (before.has_value() && IsBelieved(*before, now)) return HeldError(folder, *before, now);
  mine.expires = now + options.lasts;
  mine.path = before.has_value() ? NextPath(folder, before->token) : folder / kLeaseName;
  absl::Status made = storage.CreateExclusive(mine.path, HolderText(mine));
  // A holder may have tidied away the text before it had its name.
  if (absl::IsNotFound(made) && storage.IsDirectory(folder)) {
    made = absl::AlreadyExistsError(made.message());
  }
  HETERO_RETURN_IF_ERROR(made);

  HETERO_ASSIGN_OR_RETURN(const std::optional<Holder> end, FindHolder(storage, folder));
  const auto back_off = [&]() -> absl::Status {
    const absl::Status removed = storage.Remove(mine.path);
    // Another holder tidies up.
    if (!removed.ok() && !absl::IsNotFound(removed)) return removed;
    return absl::AlreadyExistsError("");
  };
  if (!end.has_value() || end->token != mine.token) return back_off();
  if (!before.has_value()) return absl::OkStatus();
  int64_t expires_us = 0;
  const absl::StatusOr<std::string> beat =
      ReadText(storage, BeatPath(folder, before->token), kMostBytes);
  if (beat.ok() && absl::SimpleAtoi(*beat, &expires_us) &&
      absl::FromUnixMicros(expires_us) != before->expires) {
    return back_off();
  }
  LOG(WARNING) << folder.native() << ": took over the lease of " << Describe(*before)
               << (HasEnded(before->process) ? ", which has ended" : ", which was silent for long");
  return storage.Rename(mine.path, folder / kLeaseName, RenameMode::kReplace);
}

// Calls `beat` every `every` until `ending`, and tells of failures.
void BeatUntil(absl::Mutex& mutex, bool& ending, absl::Duration every,
               const std::function<absl::Status()>& beat) {
  absl::MutexLock lock(&mutex);
  while (!mutex.AwaitWithTimeout(absl::Condition(&ending), every)) {
    mutex.Unlock();
    if (const absl::Status status = beat(); !status.ok()) LOG(WARNING) << status.message();
    mutex.Lock();
  }
}

void EndBeating(absl::Mutex& mutex, bool& ending, std::thread& beating) {
  {
    absl::MutexLock lock(&mutex);
    ending = true;
  }
  if (beating.joinable()) beating.join();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Lease>> Lease::Acquire(Storage& storage, const fs::path& folder,
                                                      LeaseOptions options) {
  std::unique_ptr<Lease> lease(new Lease(storage, folder, std::move(options)));
  const Holder mine = {
      .run_id = lease->options_.run_id, .token = lease->token_, .process = ThisProcess()};
  absl::Status taken = absl::AlreadyExistsError("");
  for (int round = 0; round < kMostRounds && absl::IsAlreadyExists(taken); ++round) {
    taken = TryToTake(storage, folder, mine, lease->options_);
  }
  if (!taken.ok()) {
    lease->ending_ = true;  // There is nothing to give back.
    return taken;
  }
  HETERO_RETURN_IF_ERROR(lease->Beat());
  if (lease->options_.beat_every < absl::InfiniteDuration()) {
    HETERO_ASSIGN_OR_RETURN(lease->beating_,
                            StartThread("the lease of the checkpoints",
                                        [at = lease.get()] { at->BeatAgainAndAgain(); }));
  }
  return lease;
}

Lease::Lease(Storage& storage, fs::path folder, LeaseOptions options)
    : storage_(storage),
      folder_(std::move(folder)),
      options_(std::move(options)),
      token_(UniqueToken()) {}

Lease::~Lease() {
  const bool held = [&] {
    absl::MutexLock lock(&mutex_);
    return !ending_;
  }();
  EndBeating(mutex_, ending_, beating_);
  // Within the time that it is believed nobody else can have `.lease`.
  if (!held || !Check().ok()) return;
  absl::Status given_back = storage_.Remove(folder_ / kLeaseName);
  given_back.Update(storage_.Remove(BeatPath(folder_, token_)));
  if (!given_back.ok()) LOG(WARNING) << given_back.message();
}

absl::Status Lease::Beat() {
  absl::MutexLock lock(&beat_mutex_);
  const fs::path path = BeatPath(folder_, token_);
  const std::string text =
      absl::StrFormat("%020d", absl::ToUnixMicros(options_.now() + options_.lasts));
  // In place, so that the lease is kept on a full disk too.
  const absl::StatusOr<std::unique_ptr<WritableFile>> file = storage_.OpenForWriting(path);
  if (absl::IsNotFound(file.status())) return ReplaceText(storage_, path, text);
  HETERO_RETURN_IF_ERROR(file);
  HETERO_RETURN_IF_ERROR((*file)->Write(0, AsBytes(text)));
  HETERO_RETURN_IF_ERROR((*file)->Sync());
  return (*file)->Close();
}

absl::Status Lease::Check() {
  HETERO_RETURN_IF_ERROR(Beat());
  HETERO_ASSIGN_OR_RETURN(const std::optional<Holder> holder, FindHolder(storage_, folder_));
  if (holder.has_value() && holder->token == token_) return absl::OkStatus();
  return absl::AbortedError(
      absl::StrCat(folder_.native(), ": the lease of this run, \"", options_.run_id, "\", is ",
                   holder.has_value() ? absl::StrCat("now of ", Describe(*holder)) : "gone",
                   "; nothing more is published there by this one"));
}

void Lease::BeatAgainAndAgain() {
  BeatUntil(mutex_, ending_, options_.beat_every, [&] { return Beat(); });
}

absl::StatusOr<std::unique_ptr<ReaderLease>> ReaderLease::Acquire(Storage& storage,
                                                                  const fs::path& folder,
                                                                  std::string_view checkpoint,
                                                                  LeaseOptions options) {
  const fs::path path = folder / absl::StrCat(kReaderPrefix, checkpoint, ".", UniqueToken());
  std::unique_ptr<ReaderLease> lease(new ReaderLease(storage, path, std::move(options)));
  const absl::Status beat = lease->Beat();
  if (!beat.ok() && !absl::IsPermissionDenied(beat) && !absl::IsFailedPrecondition(beat)) {
    return beat;
  }
  // Whoever deletes looks for readers after the name is gone.
  if (!storage.Exists(folder / checkpoint)) {
    return absl::NotFoundError(
        absl::StrCat("there is no checkpoint ", (folder / checkpoint).native()));
  }
  if (beat.ok() && lease->options_.beat_every < absl::InfiniteDuration()) {
    HETERO_ASSIGN_OR_RETURN(
        lease->beating_, StartThread("the lease of a reader", [at = lease.get()] {
          BeatUntil(at->mutex_, at->ending_, at->options_.beat_every, [at] { return at->Beat(); });
        }));
  }
  return lease;
}

ReaderLease::ReaderLease(Storage& storage, fs::path path, LeaseOptions options)
    : storage_(storage), path_(std::move(path)), options_(std::move(options)) {}

ReaderLease::~ReaderLease() {
  EndBeating(mutex_, ending_, beating_);
  storage_.Remove(path_).IgnoreError();  // Without one there is nothing to remove.
}

absl::Status ReaderLease::Beat() {
  const Holder reader = {.run_id = options_.run_id,
                         .process = ThisProcess(),
                         .expires = options_.now() + options_.lasts};
  return ReplaceText(storage_, path_, HolderText(reader));
}

bool IsBeingRead(Storage& storage, const fs::path& folder, std::string_view checkpoint,
                 absl::Time now) {
  const absl::StatusOr<std::vector<std::string>> names = storage.List(folder);
  if (!names.ok()) return true;
  bool read = false;
  for (const std::string& name : *names) {
    if (!absl::StartsWith(name, absl::StrCat(kReaderPrefix, checkpoint, ".")) ||
        absl::EndsWith(name, kTemporarySuffix)) {
      continue;
    }
    const absl::StatusOr<Holder> reader = ReadHolder(storage, folder / name);
    if (reader.ok() && IsBelieved(*reader, now)) {
      read = true;
    } else if (!absl::IsNotFound(reader.status())) {
      storage.Remove(folder / name).IgnoreError();  // The next look finds it again.
    }
  }
  return read;
}

}  // namespace hetero
