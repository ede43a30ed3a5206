// Compiled each time a program is linked, with Bazel's macros. Includes nothing of the repository:
// Bazel compiles it on its own.

#ifndef BUILD_SCM_REVISION
#define BUILD_SCM_REVISION "0"
#endif
#ifndef BUILD_SCM_STATUS
#define BUILD_SCM_STATUS ""
#endif

namespace hetero {

extern const char* const kBuildCommit;
extern const char* const kBuildStatus;
const char* const kBuildCommit = BUILD_SCM_REVISION;
const char* const kBuildStatus = BUILD_SCM_STATUS;

}  // namespace hetero
