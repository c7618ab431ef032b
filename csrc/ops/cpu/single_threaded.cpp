// glibc from 2.32 on tells libstdc++ here whether a process has one thread; shared pointers then
// leave out atomic operations. Our own answer, which is always no, lets wheels run on older ones.
extern "C" __attribute__((visibility("hidden"))) char __libc_single_threaded;
char __libc_single_threaded = 0;
