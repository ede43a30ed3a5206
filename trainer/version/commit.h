#ifndef HETERO_TRAINER_VERSION_COMMIT_H_
#define HETERO_TRAINER_VERSION_COMMIT_H_

namespace hetero {

// What tools/build/workspace_status.sh said when the program was linked: the commit's hash, "0"
// where nobody said; and "Modified" where files differed from it.
extern const char* const kBuildCommit;
extern const char* const kBuildStatus;

}  // namespace hetero

#endif  // HETERO_TRAINER_VERSION_COMMIT_H_
