// What a plugin in C++ easily has: a variable that the dynamic linker keeps once for the whole
// process, however many libraries define it (STB_GNU_UNIQUE).

inline int shared_counter = 0;

extern "C" int count_up() { return ++shared_counter; }
