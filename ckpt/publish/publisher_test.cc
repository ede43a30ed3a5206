// Publication in order, what each error and each death of a process leaves, and what a loss of
// power may leave. Checkpoints here are a few short texts that say of which iteration they are.

#include "hetero/ckpt/publish/publisher.h"

#include <cerrno>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/format/manifest.h"
#include "hetero/ckpt/publish/completeness.h"
#include "hetero/ckpt/publish/names.h"
#include "hetero/ckpt/publish/resume.h"
#include "hetero/ckpt/publish/testing/small_checkpoint.h"
#include "hetero/ckpt/publish/tracker.h"
#include "hetero/ckpt/storage/memory_storage.h"
#include "hetero/ckpt/storage/testing/crash_storage.h"
#include "hetero/ckpt/storage/testing/fault_storage.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

using Fault = StorageFault::Kind;
using Operation = StorageOperation;

const fs::path kFolder = "/save";

// Every next run starts after the leases of those before have expired.
absl::Time Later() {
  static int64_t hours = 0;
  return absl::FromUnixSeconds(1'700'000'000) + absl::Hours(++hours);
}

PublisherOptions Options(RetentionOptions retention = {}) {
  const absl::Time now = Later();
  return {.lease = {.run_id = "run",
                    .beat_every = absl::InfiniteDuration(),
                    .now = [now] { return now; }},
          .retention = std::move(retention)};
}

std::unique_ptr<Publisher> Open(Storage& storage, PublisherOptions options = Options()) {
  absl::StatusOr<std::unique_ptr<Publisher>> publisher =
      Publisher::Open(storage, kFolder, std::move(options));
  EXPECT_THAT(publisher, IsOk());
  return publisher.ok() ? *std::move(publisher) : nullptr;
}

absl::StatusOr<PublishReport> Save(Storage& storage, Publisher& publisher, int64_t iteration,
                                   const Publisher::ReadBack& read_back = {}) {
  HETERO_ASSIGN_OR_RETURN(Staging staging, publisher.Begin(iteration, kSmallCheckpointBytes));
  HETERO_RETURN_IF_ERROR(
      WriteSmallCheckpoint(storage, staging.path(), iteration, staging.save_id()));
  absl::StatusOr<PublishReport> report = publisher.Publish(std::move(staging), read_back);
  publisher.AwaitDeletions();
  return report;
}

// A storage with these checkpoints.
internal::MemoryDisk With(const std::vector<int64_t>& iterations) {
  MemoryStorage storage;
  const auto publisher = Open(storage);
  for (const int64_t iteration : iterations) {
    EXPECT_THAT(Save(storage, *publisher, iteration), IsOk());
  }
  return storage.disk();
}

int64_t TrackerOf(Storage& storage) {
  return ReadTracker(storage, kFolder).value_or(Tracker{.kind = Tracker::Kind::kGarbled}).Encode();
}

// What a run would go on from. Negative: it cannot.
int64_t ResumeIn(Storage& storage) {
  const Tracker tracker = ReadTracker(storage, kFolder).value_or(Tracker{});
  const auto plan = PlanResume(storage, kFolder, tracker, {});
  EXPECT_THAT(plan, IsOk());
  if (!plan.ok()) return -1;
  EXPECT_EQ(plan->candidates.empty() ? "" : plan->candidates[0], tracker.CheckpointName());
  int64_t iteration = -1;
  const auto report = ResumeFrom(*plan, [&](const std::string& name) -> absl::Status {
    const auto verified = VerifySmallCheckpoint(storage, kFolder / name);
    if (verified.ok()) iteration = *verified;
    return verified.status();
  });
  EXPECT_THAT(report, IsOk());
  if (report.ok()) {
    EXPECT_EQ(report->fallbacks, 0);
  }
  return iteration;
}

std::vector<std::string> Names(Storage& storage) {
  return storage.List(kFolder).value_or(std::vector<std::string>{});
}

TEST(PublisherTest, PublishedIsWholeTrackedAndAllThatIsLeft) {
  MemoryStorage storage;
  {
    const auto publisher = Open(storage);
    const auto report = Save(storage, *publisher, 10);
    ASSERT_THAT(report, IsOk());
    EXPECT_EQ(report->directory, kFolder / "iter_0000010");
    EXPECT_THAT(Save(storage, *publisher, 12345678), IsOk());
  }
  EXPECT_THAT(Names(storage),
              ElementsAre("iter_0000010", "iter_12345678", "latest_checkpointed_iteration.txt"));
  EXPECT_THAT(ReadText(storage, kFolder / kTrackerName), IsOkAndHolds("12345678"));
  EXPECT_EQ(ResumeIn(storage), 12345678);
  EXPECT_THAT(VerifySmallCheckpoint(storage, kFolder / "iter_0000010"), IsOkAndHolds(10));
}

TEST(PublisherTest, WhatTheManifestDoesNotSayIsNotPublished) {
  MemoryStorage storage(With({10}));
  const auto publisher = Open(storage);
  const std::map<std::string, std::function<absl::Status(const fs::path&)>> damages = {
      {"data_1.txt is missing; it holds \"key1\"",
       [&](const fs::path& path) { return storage.Remove(path / "data_1.txt"); }},
      {"data_0.txt has 3 bytes, the manifest says",
       [&](const fs::path& path) { return WriteText(storage, path / "data_0.txt", "cut"); }},
      {"stray is not in the manifest",
       [&](const fs::path& path) { return WriteText(storage, path / "stray", ""); }},
      {"manifest.json is missing",
       [&](const fs::path& path) { return storage.Remove(path / kManifestName); }},
      {"manifest.json: ",
       [&](const fs::path& path) { return WriteText(storage, path / kManifestName, "[]"); }},
  };
  for (const auto& [message, damage] : damages) {
    auto staging = publisher->Begin(20, 100);
    ASSERT_THAT(staging, IsOk());
    ASSERT_THAT(WriteSmallCheckpoint(storage, staging->path(), 20, staging->save_id()), IsOk());
    ASSERT_THAT(damage(staging->path()), IsOk());
    EXPECT_THAT(publisher->Publish(*std::move(staging)),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr(message)));
  }
  EXPECT_EQ(ResumeIn(storage), 10);
  EXPECT_THAT(Names(storage), Not(Contains(HasSubstr("iter_0000020"))));
}

TEST(PublisherTest, WhatFailsWhenReadBackIsNotPublished) {
  MemoryStorage storage(With({10}));
  const auto publisher = Open(storage, Options({.keep_last = 1}));
  EXPECT_THAT(Save(storage, *publisher, 20,
                   [&](const fs::path& path) {
                     EXPECT_TRUE(IsCommitted(storage, path));
                     return absl::DataLossError("block 3 of w");
                   }),
              StatusIs(absl::StatusCode::kDataLoss, "not published: block 3 of w"));
  EXPECT_EQ(ResumeIn(storage), 10);
  EXPECT_THAT(Names(storage), Not(Contains(HasSubstr("iter_0000020"))));
}

TEST(PublisherTest, TwoRunsInOneFolder) {
  MemoryStorage storage;
  absl::Time now = Later();
  PublisherOptions options = Options();
  options.lease.now = [&now] { return now; };
  options.lease.run_id = "seventh";
  const auto first = Open(storage, options);
  EXPECT_THAT(Publisher::Open(storage, kFolder, options),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("run \"seventh\"")));
  ASSERT_THAT(Save(storage, *first, 10), IsOk());

  // The first sleeps in the midst of a save.
  auto staging = first->Begin(20, 100);
  ASSERT_THAT(staging, IsOk());
  ASSERT_THAT(WriteSmallCheckpoint(storage, staging->path(), 20, staging->save_id()), IsOk());
  now += absl::Hours(1);
  const auto second = Open(storage, options);
  EXPECT_THAT(first->Publish(*std::move(staging)), StatusIs(absl::StatusCode::kAborted));
  EXPECT_THAT(first->Begin(30, 100), StatusIs(absl::StatusCode::kAborted));
  second->AwaitDeletions();
  EXPECT_EQ(TrackerOf(storage), 10);
  EXPECT_THAT(Save(storage, *second, 15), IsOk());
  EXPECT_EQ(ResumeIn(storage), 15);
}

// Between its last look at the lease and the rename, a run that lost it says so at the second look.
TEST(PublisherTest, ARunThatLosesItsLeaseDuringTheReadBackPublishesNothing) {
  MemoryStorage storage(With({10}));
  absl::Time now = Later();
  PublisherOptions options = Options();
  options.lease.now = [&now] { return now; };
  const auto first = Open(storage, options);
  std::unique_ptr<Publisher> second;
  EXPECT_THAT(Save(storage, *first, 20,
                   [&](const fs::path&) {
                     now += absl::Hours(1);
                     second = Open(storage, options);
                     return absl::OkStatus();
                   }),
              StatusIs(absl::StatusCode::kAborted));
  EXPECT_EQ(TrackerOf(storage), 10);
}

TEST(PublisherTest, AnotherModelsFolderIsRefused) {
  MemoryStorage storage;
  PublisherOptions options = Options();
  options.model = "a";
  Open(storage, options);
  Open(storage, options);
  options.model = "b";
  EXPECT_THAT(Publisher::Open(storage, kFolder, options),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("/save"), HasSubstr("\"a\""), HasSubstr("\"b\""))));
  options.adopt = true;
  Open(storage, options);
  options.adopt = false;
  Open(storage, options);
}

TEST(PublisherTest, RetentionKeepsTheLastTheMultiplesAndThePinned) {
  MemoryStorage storage;
  const auto publisher =
      Open(storage, Options({.keep_last = 3, .keep_every = 100, .pinned = {70}}));
  for (int64_t iteration = 10; iteration <= 250; iteration += 10) {
    ASSERT_THAT(Save(storage, *publisher, iteration), IsOk());
  }
  EXPECT_THAT(PublishedIterations(storage, kFolder),
              IsOkAndHolds(ElementsAre(70, 100, 200, 230, 240, 250)));
}

TEST(PublisherTest, TheBestStaysUntilThereIsABetterOneAndInTheNextRun) {
  MemoryStorage storage;
  {
    const auto publisher = Open(storage, Options({.keep_last = 1}));
    ASSERT_THAT(Save(storage, *publisher, 10), IsOk());
    ASSERT_THAT(publisher->KeepBest({.iteration = 10, .loss = 2}), IsOk());
    ASSERT_THAT(Save(storage, *publisher, 20), IsOk());
    ASSERT_THAT(Save(storage, *publisher, 30), IsOk());
    EXPECT_THAT(PublishedIterations(storage, kFolder), IsOkAndHolds(ElementsAre(10, 30)));
  }
  const auto publisher = Open(storage, Options({.keep_last = 1}));
  EXPECT_EQ(publisher->best(), (BestCheckpoint{.iteration = 10, .loss = 2}));
  ASSERT_THAT(Save(storage, *publisher, 40), IsOk());
  EXPECT_THAT(PublishedIterations(storage, kFolder), IsOkAndHolds(ElementsAre(10, 40)));
  ASSERT_THAT(publisher->KeepBest({.iteration = 40, .loss = 1}), IsOk());
  ASSERT_THAT(Save(storage, *publisher, 50), IsOk());
  EXPECT_THAT(PublishedIterations(storage, kFolder), IsOkAndHolds(ElementsAre(40, 50)));
}

TEST(RetentionTest, WhatIsAboveTheTrackerIsNeitherCountedNorDeleted) {
  const std::vector<int64_t> published = {10, 20, 30, 40, 50};
  EXPECT_THAT(IterationsToDelete(published, 30, {.keep_last = 1}), ElementsAre(10, 20));
  EXPECT_THAT(IterationsToDelete(published, 50, {.keep_last = 2, .keep_every = 20}),
              ElementsAre(10, 30));
  EXPECT_THAT(IterationsToDelete(published, 50, {}), IsEmpty());
  EXPECT_THAT(IterationsToDelete(published, 50, {.keep_last = 9}), IsEmpty());
}

TEST(PublisherTest, ASetBackRunGoesOnBelowWhatIsThere) {
  MemoryStorage storage(With({5, 10}));
  const auto publisher = Open(storage, Options({.keep_last = 1}));
  ASSERT_THAT(Save(storage, *publisher, 6), IsOk());
  EXPECT_EQ(ResumeIn(storage), 6);
  EXPECT_THAT(PublishedIterations(storage, kFolder), IsOkAndHolds(ElementsAre(6, 10)));
  const auto plan = PlanResume(storage, kFolder, *ReadTracker(storage, kFolder), {});
  EXPECT_THAT(plan->stale, ElementsAre(10));
  // Its own 10 takes the place of the other.
  ASSERT_THAT(Save(storage, *publisher, 10), IsOk());
  EXPECT_EQ(ResumeIn(storage), 10);
  EXPECT_THAT(PublishedIterations(storage, kFolder), IsOkAndHolds(ElementsAre(10)));
}

TEST(PublisherTest, ReadersKeepACheckpointWhileTheirLeaseLasts) {
  MemoryStorage storage(With({10}));
  absl::Time now = Later();
  PublisherOptions options = Options({.keep_last = 1});
  options.lease.now = [&now] { return now; };
  const auto publisher = Open(storage, options);
  auto reader = ReaderLease::Acquire(storage, kFolder, "iter_0000010", options.lease);
  ASSERT_THAT(reader, IsOk());
  ASSERT_THAT(Save(storage, *publisher, 20), IsOk());
  now += absl::Seconds(90);
  ASSERT_THAT((*reader)->Beat(), IsOk());
  now += absl::Seconds(90);
  ASSERT_THAT(Save(storage, *publisher, 30), IsOk());
  EXPECT_THAT(PublishedIterations(storage, kFolder), IsOkAndHolds(ElementsAre(10, 30)));
  now += absl::Hours(1);  // A reader that is gone without a word.
  ASSERT_THAT(Save(storage, *publisher, 40), IsOk());
  EXPECT_THAT(PublishedIterations(storage, kFolder), IsOkAndHolds(ElementsAre(40)));
  EXPECT_THAT(ReaderLease::Acquire(storage, kFolder, "iter_0000010", options.lease),
              StatusIs(absl::StatusCode::kNotFound));
}

// A reader that comes at any moment of a save with retention either has the checkpoint or is told.
TEST(PublisherTest, AReaderThatComesAtAnyMomentKeepsWhatItHas) {
  bool reached = true;
  int64_t kept = 0;
  for (int64_t moment = 0; reached; ++moment) {
    MemoryStorage disk(With({10}));
    const PublisherOptions options = Options({.keep_last = 1});
    reached = false;
    int64_t calls = 0;
    absl::StatusOr<std::unique_ptr<ReaderLease>> reader = absl::CancelledError();
    FaultStorage storage(disk, [&](const StorageCall&) -> StorageFault {
      if (calls++ == moment) {
        reached = true;
        reader = ReaderLease::Acquire(disk, kFolder, "iter_0000010", options.lease);
      }
      return {};
    });
    const auto publisher = Open(storage, options);
    ASSERT_THAT(Save(storage, *publisher, 20), IsOk());
    if (!reader.ok()) continue;
    ++kept;
    EXPECT_THAT(VerifySmallCheckpoint(disk, kFolder / "iter_0000010"), IsOkAndHolds(10)) << moment;
  }
  EXPECT_GT(kept, 20);
}

TEST(PublisherTest, ACheckpointOfOthersIsSetAside) {
  MemoryStorage storage(With({10}));
  ASSERT_THAT(storage.MakeDirectory(kFolder / "iter_0000020"), IsOk());
  ASSERT_THAT(WriteText(storage, kFolder / "iter_0000020/metadata.json", "theirs"), IsOk());
  const auto publisher = Open(storage, Options({.keep_last = 1}));
  ASSERT_THAT(Save(storage, *publisher, 20), IsOk());
  ASSERT_THAT(Save(storage, *publisher, 30), IsOk());
  bool found = false;
  for (const std::string& name : Names(storage)) {
    if (!absl::StartsWith(name, "iter_0000020.replaced.")) continue;
    found = true;
    EXPECT_THAT(ReadText(storage, kFolder / name / "metadata.json"), IsOkAndHolds("theirs"));
  }
  EXPECT_TRUE(found);
}

TEST(PublisherTest, WithoutExchangesAllButTheTrackedIsSavedAgain) {
  MemoryStorage disk(With({10, 20}));
  ASSERT_THAT(WriteTracker(disk, kFolder, 10), IsOk());
  FaultStorage storage(disk, [](const StorageCall& call) -> StorageFault {
    const bool exchange =
        call.operation == Operation::kRename && call.mode == RenameMode::kExchange;
    return exchange ? StorageFault{.kind = Fault::kError, .error = ENOSYS} : StorageFault{};
  });
  const auto publisher = Open(storage);
  ASSERT_THAT(Save(storage, *publisher, 20), IsOk());
  EXPECT_EQ(ResumeIn(disk), 20);
  EXPECT_THAT(Save(storage, *publisher, 20), StatusIs(absl::StatusCode::kUnimplemented));
  EXPECT_EQ(ResumeIn(disk), 20);
}

TEST(SpaceTest, WhatDoesNotFitIsNotBegun) {
  MemoryStorage storage(With({10}));
  const auto publisher = Open(storage);
  const int64_t used = std::numeric_limits<int64_t>::max() - *storage.FreeBytes(kFolder);
  storage.set_capacity(used + 90'000'000);
  EXPECT_THAT(publisher->Begin(20, 100'000'000),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       AllOf(HasSubstr("100000000 bytes"), HasSubstr("15000000"),
                             HasSubstr("iteration 20"))));
  EXPECT_THAT(Names(storage), Not(Contains(HasSubstr("iter_0000020"))));
  EXPECT_THAT(publisher->Begin(20, 85'000'000), IsOk());
}

TEST(SpaceTest, WhatRetentionCanSpareGoesFirst) {
  MemoryStorage storage(With({10, 20, 30}));
  const auto publisher = Open(storage, Options({.keep_last = 1}));
  const int64_t free = *storage.FreeBytes(kFolder);
  const int64_t used = std::numeric_limits<int64_t>::max() - free;
  storage.set_capacity(used + 10);  // Two of three can go.
  EXPECT_THAT(publisher->Begin(40, kSmallCheckpointBytes), IsOk());
  EXPECT_THAT(PublishedIterations(storage, kFolder), IsOkAndHolds(ElementsAre(30)));
}

// One save of `iteration` by a new run, to the end of all deletions.
absl::Status SaveAsANewRun(Storage& storage, int64_t iteration, RetentionOptions retention) {
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<Publisher> publisher,
                          Publisher::Open(storage, kFolder, Options(std::move(retention))));
  publisher->AwaitDeletions();
  return Save(storage, *publisher, iteration).status();
}

// Deaths and errors at every call of a save of 20 over a folder with `before`.
struct Sweep {
  std::vector<int64_t> before;
  int64_t keep_last;
  StorageFault fault;
};

class SweepTest : public ::testing::TestWithParam<Sweep> {};

TEST_P(SweepTest, AtEveryCallOfASaveNothingPublishedIsLost) {
  const internal::MemoryDisk start = With(GetParam().before);
  const bool death =
      GetParam().fault.kind != Fault::kError && GetParam().fault.kind != Fault::kHalf;
  std::map<int64_t, int> resumed;
  for (int64_t n = 0;; ++n) {
    MemoryStorage disk(start);
    FaultStorage storage(disk, n, GetParam().fault);
    const absl::Status saved = SaveAsANewRun(storage, 20, {.keep_last = GetParam().keep_last});
    const std::vector<StorageCall> calls = storage.calls();
    if (std::ssize(calls) <= n) break;
    const std::string at = absl::StrCat("call ", n, ", ", StorageOperationName(calls[n].operation),
                                        " of ", calls[n].path.native(), ": ", saved.ToString());
    const int64_t tracker = TrackerOf(disk);
    EXPECT_THAT(tracker, AnyOf(GetParam().before.back(), 20)) << at;
    if (saved.ok()) {
      EXPECT_EQ(tracker, 20) << at;
    }
    EXPECT_EQ(ResumeIn(disk), tracker) << at;
    ++resumed[tracker];
    // An error leaves no staging; after a death the next run removes it, and what was exchanged.
    const bool again = GetParam().before.back() == 20;
    if (!death && !again && calls[n].operation != Operation::kRemove) {
      for (const std::string& name : Names(disk)) EXPECT_FALSE(IsStagingName(name)) << at;
    }
    ASSERT_THAT(SaveAsANewRun(disk, 30, {}), IsOk()) << at;
    EXPECT_EQ(ResumeIn(disk), 30) << at;
    for (const std::string& name : Names(disk)) {
      EXPECT_TRUE(ParseIterationName(name).has_value() || name == kTrackerName ||
                  absl::StartsWith(name, kLeaseName))
          << name << " after " << at;
      if (ParseIterationName(name).has_value()) {
        EXPECT_THAT(VerifySmallCheckpoint(disk, kFolder / name),
                    IsOkAndHolds(*ParseIterationName(name)))
            << at;
      }
    }
  }
  EXPECT_GT(resumed[GetParam().before.back()], 20);
  EXPECT_GT(resumed[20], 0);
}

INSTANTIATE_TEST_SUITE_P(
    All, SweepTest,
    ::testing::Values(Sweep{{10}, 0, {Fault::kDeath}}, Sweep{{10}, 1, {Fault::kDeath}},
                      Sweep{{10}, 1, {Fault::kHalfAndDeath}}, Sweep{{10}, 1, {Fault::kError, EIO}},
                      Sweep{{10}, 1, {Fault::kError, ENOSPC}},
                      Sweep{{10}, 1, {Fault::kHalf, EDQUOT}}, Sweep{{10, 20}, 0, {Fault::kDeath}},
                      Sweep{{10, 20}, 1, {Fault::kHalfAndDeath}},
                      Sweep{{10, 20}, 0, {Fault::kError, EIO}}));

// Full disks: what is free afterwards is what was free before, whichever write met the end.
TEST(SpaceTest, AFullDiskTakesNothing) {
  const internal::MemoryDisk start = With({10});
  for (int64_t n = 0;; ++n) {
    MemoryStorage disk(start);
    int64_t writes = 0;
    FaultStorage storage(disk, [&](const StorageCall& call) -> StorageFault {
      const bool write =
          call.operation == Operation::kWrite || call.operation == Operation::kAllocate;
      return write && absl::StrContains(call.path.native(), "/.iter_") && writes++ == n
                 ? StorageFault{.kind = Fault::kHalf, .error = ENOSPC}
                 : StorageFault{};
    });
    const auto publisher = Open(storage);
    const int64_t free = *disk.FreeBytes(kFolder);
    const auto saved = Save(storage, *publisher, 20);
    if (writes <= n) {
      EXPECT_GT(n, 4);
      break;
    }
    EXPECT_THAT(saved, StatusIs(absl::StatusCode::kResourceExhausted,
                                HasSubstr("No space left on device")));
    EXPECT_EQ(*disk.FreeBytes(kFolder), free);
    EXPECT_EQ(ResumeIn(disk), 10);
    EXPECT_THAT(Save(storage, *publisher, 20), IsOk());
    EXPECT_EQ(ResumeIn(disk), 20);
  }
}

TEST(DeletionTest, WhatCannotBeDeletedIsSaidAndDelaysNothing) {
  MemoryStorage disk(With({10}));
  FaultStorage storage(disk, [&](const StorageCall& call) -> StorageFault {
    const bool deletion =
        call.operation == Operation::kRemove && absl::StrContains(call.path.native(), kTrashPrefix);
    return deletion ? StorageFault{.kind = Fault::kError, .error = EPERM} : StorageFault{};
  });
  const auto publisher = Open(storage, Options({.keep_last = 1}));
  for (const int64_t iteration : {20, 30}) {
    EXPECT_THAT(Save(storage, *publisher, iteration), IsOk());
    EXPECT_EQ(ResumeIn(disk), iteration);
  }
  // A rename that fails is a warning of the report.
  FaultStorage stuck(disk, [&](const StorageCall& call) -> StorageFault {
    return call.operation == Operation::kRename && absl::StrContains(call.to.native(), kTrashPrefix)
               ? StorageFault{.kind = Fault::kError, .error = EPERM}
               : StorageFault{};
  });
  const auto next = Open(stuck, Options({.keep_last = 1}));
  const auto report = Save(stuck, *next, 40);
  ASSERT_THAT(report, IsOk());
  EXPECT_THAT(report->warnings, ElementsAre(HasSubstr("iter_0000030")));
}

TEST(DeletionTest, SavesDoNotWaitForDeletions) {
  MemoryStorage disk(With({10}));
  absl::Notification release;
  // Blocks the thread that deletes, and outside the lock of the faults.
  class Slow : public FaultStorage {
   public:
    Slow(Storage& base, absl::Notification& release)
        : FaultStorage(base, [](const StorageCall&) -> StorageFault { return {}; }),
          release_(release) {}
    absl::Status Remove(const fs::path& path) override {
      if (absl::StrContains(path.native(), kTrashPrefix)) release_.WaitForNotification();
      return FaultStorage::Remove(path);
    }

   private:
    absl::Notification& release_;
  } slow(disk, release);
  const auto publisher = Open(slow, Options({.keep_last = 1}));
  for (const int64_t iteration : {20, 30, 40}) {
    auto staging = publisher->Begin(iteration, 100);
    ASSERT_THAT(staging, IsOk());
    ASSERT_THAT(WriteSmallCheckpoint(slow, staging->path(), iteration, staging->save_id()), IsOk());
    ASSERT_THAT(publisher->Publish(*std::move(staging)), IsOk());
  }
  EXPECT_EQ(ResumeIn(disk), 40);
  release.Notify();
  publisher->AwaitDeletions();
  EXPECT_THAT(Names(disk), Not(Contains(HasSubstr("trash"))));
}

// What a loss of power may leave of a save of 20. Returns the first state that breaks the law: the
// tracker names a whole checkpoint, that last reported or a newer one. Empty: none does.
constexpr int64_t kStates = 300;
constexpr std::string_view kReported = "reported";

std::string BrokenByACrash(const CrashStorage& storage, int64_t before, int64_t* looked = nullptr) {
  std::mt19937_64 generator = FreshGenerator();
  std::string broken;
  const int64_t states =
      storage.ForEachCrash(kStates, generator, [&](const CrashStorage::Crash& crash) {
        if (!broken.empty()) return;
        const int64_t reported = crash.marks.empty() ? before : 20;
        const int64_t tracker = TrackerOf(crash.disk);
        const auto verified =
            tracker < 0 ? absl::StatusOr<int64_t>(absl::DataLossError("no tracker"))
                        : VerifySmallCheckpoint(crash.disk, kFolder / IterationName(tracker));
        if (!verified.ok() || *verified != tracker || tracker < reported) {
          broken = absl::StrCat("tracker ", tracker, ", reported ", reported, ", ",
                                verified.status().ToString(), ": ", crash.description);
        }
      });
  if (looked != nullptr) *looked = states;
  return broken;
}

absl::Status SaveAndReport(Storage& storage, CrashStorage& crash, int64_t keep_last) {
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<Publisher> publisher,
                          Publisher::Open(storage, kFolder, Options({.keep_last = keep_last})));
  HETERO_RETURN_IF_ERROR(Save(storage, *publisher, 20).status());
  crash.Mark(kReported);
  return absl::OkStatus();
}

TEST(CrashTest, AfterALossOfPowerTheTrackerNamesAWholeCheckpoint) {
  for (const std::vector<int64_t>& before : std::vector<std::vector<int64_t>>{{10}, {10, 20}}) {
    CrashStorage storage(With(before));
    ASSERT_THAT(SaveAndReport(storage, storage, 1), IsOk());
    int64_t looked = 0;
    EXPECT_EQ(BrokenByACrash(storage, before.back(), &looked), "");
    EXPECT_GT(looked, 1000);
  }
}

// Without any one of its syncs, or with its last two steps swapped, a save breaks the law.
TEST(CrashTest, EverySyncAndTheOrderAreNeeded) {
  const internal::MemoryDisk start = With({10});
  // The syncs of the save itself; a beat of the lease has its own.
  std::vector<int64_t> syncs;
  {
    MemoryStorage disk(start);
    FaultStorage storage(disk, -1, {});
    ASSERT_THAT(SaveAsANewRun(storage, 20, {}), IsOk());
    bool of_lease = true;
    for (const StorageCall& call : storage.calls()) {
      if (call.operation == Operation::kRename || call.operation == Operation::kCreate) {
        of_lease = absl::StartsWith(call.path.filename().native(), kLeaseName);
      }
      const bool sync =
          call.operation == Operation::kSync || call.operation == Operation::kSyncDirectory;
      const bool beat = absl::StartsWith(call.path.filename().native(), kLeaseName);
      if (sync && !of_lease && !beat) syncs.push_back(call.index);
    }
  }
  // Two data files, metadata.json, manifest.json, COMMIT, their folder, its name, the tracker and
  // the tracker's name.
  EXPECT_THAT(syncs, SizeIs(9));
  for (const int64_t sync : syncs) {
    CrashStorage crash(start);
    FaultStorage storage(crash, sync, {.kind = Fault::kSkip});
    ASSERT_THAT(SaveAndReport(storage, crash, 1), IsOk());
    EXPECT_NE(BrokenByACrash(crash, 10), "")
        << "survives without call " << sync << ", of " << storage.calls()[sync].path;
  }
  CrashStorage crash(start);
  FaultStorage storage(crash, [&](const StorageCall& call) -> StorageFault {
    if (call.operation == Operation::kRename && IsStagingName(call.path.filename().native())) {
      EXPECT_THAT(WriteTracker(crash, kFolder, 20), IsOk());
    }
    return {};
  });
  ASSERT_THAT(SaveAndReport(storage, crash, 1), IsOk());
  EXPECT_NE(BrokenByACrash(crash, 10), "") << "survives a tracker before the rename";
}

TEST(CrashTest, TheModelCatchesAProtocolThatRewritesInPlace) {
  CrashStorage storage(With({10, 20}));
  ASSERT_THAT(WriteText(storage, kFolder / kTrackerName, "20"), IsOk());
  EXPECT_NE(BrokenByACrash(storage, 10), "");
}

}  // namespace
}  // namespace hetero
