#ifndef HETERO_CKPT_FORMAT_TORCH_OBJECT_H_
#define HETERO_CKPT_FORMAT_TORCH_OBJECT_H_

// Values that are no tensors, as torch.save writes them: a zip archive with a pickle. Of a
// ".distcp" file each is an item; common.pt is one by itself.

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "hetero/ckpt/format/pickle.h"
#include "hetero/ckpt/storage/storage.h"
#include "nlohmann/json.hpp"

namespace hetero {

inline constexpr std::string_view kCommonName = "common.pt";

// The item of an object: a list with the value. Only classes that torch.load(weights_only=True)
// takes are in it. ReadObject gives the same value back: integers as such, floats bit by bit, NaN
// and infinities too. Precondition: text is UTF-8.
std::string ObjectItem(const nlohmann::json& value);

// common.pt: an object, of which "args", where it has that, is an argparse.Namespace for Python.
std::string CommonText(const nlohmann::json& value);

// What the item that is all of `item` holds: ours, Megatron's or PyTorch's. Of a list with one
// value that value. Errors: DATA_LOSS.
absl::StatusOr<nlohmann::json> ReadObject(const ReadableFile& item);

// What common.pt holds.
absl::StatusOr<nlohmann::json> ReadCommon(const ReadableFile& file);

// Tuples and sets become arrays, an OrderedDict or Namespace an object, torch.Size an array. What
// JSON does not have is an object with one of these names: "__bytes__" in hexadecimal, "__items__"
// pairs of a dict whose keys are not all text, "__global__" a name, "__class__" a call that nobody
// makes, with its "arguments", "state" and "items", "__storage__" the id of something outside.
// DATA_LOSS when shared values make the tree very much larger than the pickle.
absl::StatusOr<nlohmann::json> ToJson(const Pickle& pickle);

}  // namespace hetero

#endif  // HETERO_CKPT_FORMAT_TORCH_OBJECT_H_
