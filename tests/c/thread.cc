// A thread of the C++ library's: its start function is that library's, and so is who starts it.

#include <thread>

#include <unistd.h>

static int never[2];

__attribute__((constructor)) static void start() {
  if (pipe(never) != 0) return;
  std::thread([] {
    char byte;
    while (read(never[0], &byte, 1) != 0) continue;
  }).detach();
}

