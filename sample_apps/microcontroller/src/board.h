// What a board has to provide; host/board_host.cc does it with standard input and output.
#ifndef BOARD_H_
#define BOARD_H_

#include <cstddef>
#include <cstdint>

namespace board {

// Starts clocks, console and microphone.
void Start();

// Writes a text without adding anything.
void Print(const char* text);

// Waits for up to `count` samples of the microphone, at app::kSampleRate; 0 where no more will come.
std::size_t Read(std::int16_t* samples, std::size_t count);

}  // namespace board

#endif  // BOARD_H_
