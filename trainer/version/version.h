#ifndef HETERO_TRAINER_VERSION_VERSION_H_
#define HETERO_TRAINER_VERSION_VERSION_H_

// What a program is made of and runs on, for reports of its users.

#include <string>

namespace hetero {

// Four lines; the first is "hetero of an unknown commit" where the build could not tell:
//   hetero 0123456789abcdef0123456789abcdef01234567 with local changes
//   compiler: GCC 12.2.0, C++20, optimized
//   libraries: Abseil 20240722, protobuf 3.21.12, oneDNN 2.6.3, ...
//   devices: AMD EPYC 9B45, 2 of its threads; no GPU: ...
std::string DescribeProgram();

// The first line.
std::string ProgramName();

}  // namespace hetero

#endif  // HETERO_TRAINER_VERSION_VERSION_H_
