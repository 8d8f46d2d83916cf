// Starts a program of newlib's semihosting on an emulated Cortex-M: a vector table, and the floating point unit on.
#include <cstdint>

extern "C" void _start();

extern "C" [[noreturn]] void Reset() {
  *reinterpret_cast<volatile std::uint32_t*>(0xE000ED88) |= 0xFU << 20;  // CPACR: full access to the unit
  asm volatile("dsb\n isb");
  _start();
  while (true) {
  }
}

extern "C" [[noreturn]] void Fault() {
  while (true) {
  }
}

using Handler = void (*)();
__attribute__((section(".vectors"), used)) const Handler vectors[] = {
    reinterpret_cast<Handler>(0x20400000), Reset, Fault, Fault, Fault, Fault, Fault,
};
