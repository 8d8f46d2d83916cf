// A board for trying the app on a computer: the console is standard output, the microphone standard input, 16-bit
// little-endian samples.
#include "board.h"

#include <cstdio>

namespace board {

void Start() {}

void Print(const char* text) {
  std::fputs(text, stdout);
  std::fflush(stdout);
}

std::size_t Read(std::int16_t* samples, std::size_t count) {
  return std::fread(samples, sizeof(samples[0]), count, stdin);
}

}  // namespace board
