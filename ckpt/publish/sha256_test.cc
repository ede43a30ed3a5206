#include "hetero/ckpt/publish/sha256.h"

#include <string>

#include "gtest/gtest.h"

namespace hetero {
namespace {

// Examples of FIPS 180-4 and of NIST's CAVP short and long message vectors.
TEST(Sha256Test, KnownTexts) {
  EXPECT_EQ(Sha256Hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Sha256Hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(Sha256Hex(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

// Texts of these lengths end at every place of the last block; digests by Python's hashlib.
TEST(Sha256Test, EveryLengthOfTheLastBlock) {
  std::string digests;
  for (int length = 0; length <= 130; ++length) digests += Sha256Hex(std::string(length, 'x'));
  EXPECT_EQ(Sha256Hex(digests), "87aca1c44bc7ba8897768170211f0a02063de70801131ff86c7edb9ce32c6a50");
}

}  // namespace
}  // namespace hetero
