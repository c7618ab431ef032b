// Names of old C libraries, so that a wheel built on a new system runs on an older one
// (manylinux_2_28). Newer names of these functions differ only in how errors set errno.
#pragma once

#include <cstddef>  // any header of the library says whether it is glibc

#if defined(__GLIBC__) && !defined(__CUDACC__)
#if defined(__x86_64__)
#define GTNET_OLD_NAME(function) __asm__(".symver " #function "," #function "@GLIBC_2.2.5")
#elif defined(__aarch64__)
#define GTNET_OLD_NAME(function) __asm__(".symver " #function "," #function "@GLIBC_2.17")
#endif
#endif

#ifdef GTNET_OLD_NAME
GTNET_OLD_NAME(exp);  // new in 2.29, as the next four
GTNET_OLD_NAME(exp2);
GTNET_OLD_NAME(log);
GTNET_OLD_NAME(log2);
GTNET_OLD_NAME(pow);
GTNET_OLD_NAME(hypot);  // 2.35
GTNET_OLD_NAME(fmod);   // 2.38
#undef GTNET_OLD_NAME
#endif
