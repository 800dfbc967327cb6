// What an object may ask for, in one file: far calls, constants, a jump table, the address of an import.
// sample.o is this file compiled by
//   clang-19 -c -O2 -fPIC -fno-omit-frame-pointer -fstack-size-section -mcmodel=small --target=x86_64-linux-gnu sample.c

typedef unsigned long u64;
void *memcpy(void *to, const void *from, u64 bytes);
double fmod(double x, double y);
u64 runtime_helper(u64 x);

static const u64 table[8] = {3, 1, 4, 1, 5, 9, 2, 6};

// .rodata, and a call of something in libc.
u64 copy_and_add(u64 *to, u64 count) {
    u64 sum = 0;
    memcpy(to, table, count * sizeof(u64));
    for (u64 i = 0; i < count; i++)
        sum = sum * 10 + to[i];
    return sum;
}

// .rodata.cst8, and a call of something in libm.
double wrap(double x) { return fmod(x * 1.25, 360.0) + 0.5; }

// A jump table; calls out of each case keep it from becoming a table of values.
u64 dispatch(u64 op, u64 x) {
    switch (op) {
    case 0: return runtime_helper(x) + 1;
    case 1: return runtime_helper(x + 1) * 3;
    case 2: return runtime_helper(x * 7) - 2;
    case 3: return x ^ runtime_helper(5);
    case 4: return x - runtime_helper(x >> 1);
    case 5: return runtime_helper(runtime_helper(x));
    default: return 0;
    }
}

// The address of an import, through a slot.
void *address_of_helper(void) { return (void *)runtime_helper; }

// Pointers that are constant once relocated.
static u64 add(u64 x, u64 y) { return x + y; }
static u64 (*const operations[])(u64, u64) = {dispatch, add};
u64 through_pointer(u64 which, u64 op, u64 x) { return operations[which](op, x); }
