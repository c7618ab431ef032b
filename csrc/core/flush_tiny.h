// While one lives, what becomes smaller than any normal number is 0 in this thread: a processor of
// x86 takes a hundred times as long for such numbers. Others take them as they come.
#pragma once

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace gtnet {

class FlushTiny {
 public:
#if defined(__SSE2__)
  FlushTiny() : before_(_mm_getcsr()) { _mm_setcsr(before_ | kResults | kOperands); }
  ~FlushTiny() { _mm_setcsr(before_); }

 private:
  static constexpr unsigned kResults = 0x8000, kOperands = 0x0040;
  const unsigned before_;
#else
  FlushTiny() {}  // written, so that no compiler calls it unused
#endif

 public:
  FlushTiny(const FlushTiny&) = delete;
  FlushTiny& operator=(const FlushTiny&) = delete;
};

}  // namespace gtnet
