#include "version.hpp"
#include <boost/algorithm/hex.hpp>
#include <iostream>
#include <iterator>
#include <openssl/sha.h>

int main() {
  const std::string text = version;
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char *>(text.data()), text.size(), digest);
  std::string hex;
  boost::algorithm::hex_lower(digest, digest + 4, std::back_inserter(hex));
  std::cout << version << ' ' << hex << '\n';
}
