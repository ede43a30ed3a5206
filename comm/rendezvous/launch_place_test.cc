#include "hetero/comm/rendezvous/launch_place.h"

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::Eq;
using ::testing::Field;
using ::testing::Optional;

using Variables = std::map<std::string, std::string>;

absl::StatusOr<std::optional<LaunchPlace>> Find(const Variables& variables) {
  return FindLaunchPlace([&](const char* name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    if (found == variables.end()) return std::nullopt;
    return found->second;
  });
}

auto IsPlace(std::string launcher, int64_t rank, int64_t world_size, int64_t local_rank,
             std::string host) {
  return IsOkAndHolds(Optional(AllOf(Field("launcher", &LaunchPlace::launcher, launcher),
                                     Field("rank", &LaunchPlace::rank, GlobalRank(rank)),
                                     Field("world_size", &LaunchPlace::world_size, world_size),
                                     Field("local_rank", &LaunchPlace::local_rank, local_rank),
                                     Field("host", &LaunchPlace::host, host))));
}

// What torchrun 2.11, srun of Slurm 22.05, mpirun of Open MPI 4.1 and Hydra set.
const Variables kTorchrun = {{"RANK", "3"},
                             {"WORLD_SIZE", "8"},
                             {"LOCAL_RANK", "1"},
                             {"MASTER_ADDR", "n1"},
                             {"MASTER_PORT", "29500"}};
const Variables kSlurm = {{"SLURM_PROCID", "2"},
                          {"SLURM_STEP_NUM_TASKS", "4"},
                          {"SLURM_NTASKS", "4"},
                          {"SLURM_LOCALID", "0"},
                          {"SLURM_JOB_ID", "17"},
                          {"SLURM_STEP_NODELIST", "n[03-04]"},
                          {"SLURM_JOB_NODELIST", "n[03-09]"}};
const Variables kOpenMpi = {{"OMPI_COMM_WORLD_RANK", "1"},
                            {"OMPI_COMM_WORLD_SIZE", "4"},
                            {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                            {"PMIX_NAMESPACE", "3061055489"}};

TEST(LaunchPlaceTest, KnowsTheVariablesOfEveryLauncher) {
  EXPECT_THAT(Find({}), IsOkAndHolds(Eq(std::nullopt)));
  EXPECT_THAT(Find(kTorchrun), IsPlace("torchrun", 3, 8, 1, "n1"));
  EXPECT_EQ((*Find(kTorchrun))->port, 29501);  // torchrun's own store has the other
  EXPECT_THAT(Find(kSlurm), IsPlace("srun", 2, 4, 0, "n03"));
  EXPECT_THAT(Find(kOpenMpi), IsPlace("mpirun", 1, 4, 1, "127.0.0.1"));
  EXPECT_THAT(Find({{"PMI_RANK", "0"}, {"PMI_SIZE", "2"}}), IsPlace("PMI", 0, 2, 0, "127.0.0.1"));
  EXPECT_THAT(Find({{"HETERO_RANK", "1"},
                    {"HETERO_WORLD_SIZE", "2"},
                    {"HETERO_RENDEZVOUS", "127.0.0.1:4711"}}),
              IsPlace("hetero", 1, 2, 0, "127.0.0.1"));
}

TEST(LaunchPlaceTest, RanksOfAJobMeetAtOnePortAndJobsAtTheirOwn) {
  Variables other_rank = kOpenMpi;
  other_rank["OMPI_COMM_WORLD_RANK"] = "3";
  EXPECT_EQ((*Find(kOpenMpi))->port, (*Find(other_rank))->port);
  Variables other_job = kOpenMpi;
  other_job["PMIX_NAMESPACE"] = "3061055490";
  EXPECT_NE((*Find(kOpenMpi))->port, (*Find(other_job))->port);
}

TEST(LaunchPlaceTest, TheFirstCompleteSetWins) {
  Variables both = kSlurm;
  both.insert(kTorchrun.begin(), kTorchrun.end());
  EXPECT_THAT(Find(both), IsPlace("torchrun", 3, 8, 1, "n1"));
}

TEST(LaunchPlaceTest, AScriptOfABatchJobAndAWorldOfOneAreNoRanks) {
  EXPECT_THAT(Find({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}, {"SLURM_JOB_ID", "17"}}),
              IsOkAndHolds(Eq(std::nullopt)));
  EXPECT_THAT(Find({{"OMPI_COMM_WORLD_RANK", "0"}, {"OMPI_COMM_WORLD_SIZE", "1"}}),
              IsOkAndHolds(Eq(std::nullopt)));
}

TEST(LaunchPlaceTest, HalfASetNamesWhatIsMissing) {
  Variables variables = kTorchrun;
  variables.erase("WORLD_SIZE");
  EXPECT_THAT(Find(variables),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "of the variables of torchrun, RANK is set, but WORLD_SIZE is not"));
  EXPECT_THAT(Find({{"WORLD_SIZE", "2"}}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "of the variables of torchrun, WORLD_SIZE is set, but RANK, MASTER_ADDR, "
                       "MASTER_PORT are not"));
  variables = kTorchrun;
  variables["RANK"] = "8";
  EXPECT_THAT(Find(variables),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "variable RANK of torchrun is '8', must be a number from 0 to 7"));
}

TEST(LaunchPlaceTest, TheFirstHostOfAList) {
  EXPECT_EQ(FirstHost("n1"), "n1");
  EXPECT_EQ(FirstHost("n1,n2"), "n1");
  EXPECT_EQ(FirstHost("n[03-05,7],m1"), "n03");
  EXPECT_EQ(FirstHost("gpu-a[7]"), "gpu-a7");
}

}  // namespace
}  // namespace hetero
