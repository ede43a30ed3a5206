#ifndef HETERO_DATA_TAR_REPACK_COMMAND_H_
#define HETERO_DATA_TAR_REPACK_COMMAND_H_

#include <string>
#include <string_view>

namespace hetero::data {

// What messages tell the user to run in the folder that `shard`, a relative name, begins at: it
// packs the members again, sorted by name. It stops, with nothing lost, where two members have one
// name.
std::string RepackCommand(std::string_view shard);

}  // namespace hetero::data

#endif  // HETERO_DATA_TAR_REPACK_COMMAND_H_
