// Runs every floating-point instruction of F, D, Zfhmin and Zfa over a fixed sequence of operands and
// leaves results and flags in the signature region. Bare metal, for Spike; see README.md.
//
// The region is a sequence of sections: the operation's name (16 bytes, zero padded), the result's
// width in bytes (u32) and the number of cases (u32); all results; then all fflags, one byte each.
// An empty name ends it. The operands are not in it: fp_oracle.rs derives them as `operand` does.

#include <stdint.h>

enum { CASES = 2500, CAPACITY = 4 << 20 };

__attribute__((section(".tohost"), aligned(64))) volatile uint64_t tohost, fromhost;

uint8_t begin_signature[CAPACITY] __attribute__((aligned(64)));
static uint8_t *out = begin_signature;

static const uint32_t specials_s[] = {
#include "specials_s.inc"
};
static const uint64_t specials_d[] = {
#include "specials_d.inc"
};
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static uint64_t state;

// SplitMix64 (Steele, Lea, Flood 2014).
static uint64_t next(void) {
    uint64_t z = (state += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

// Half of the floating-point operands are special, a quarter are any bits, and a quarter have
// exponents near zero. Integers are powers of two and their neighbours, or have any length.
static uint64_t operand(char kind) {
    uint64_t choice = next(), bits = next(), spread = (choice >> 8) % 64;
    switch (kind) {
    case 's':
        if ((choice & 3) < 2) return specials_s[(choice >> 2) % COUNT(specials_s)];
        if ((choice & 3) == 3) return (bits & 0x807fffff) | (95 + spread) << 23;
        return bits & 0xffffffff;
    case 'd':
        if ((choice & 3) < 2) return specials_d[(choice >> 2) % COUNT(specials_d)];
        if ((choice & 3) == 3) return (bits & 0x800fffffffffffff) | (991 + spread) << 52;
        return bits;
    case 'h':
        return bits & 0xffff;
    case 'n':
        return bits & 31;
    case 'i':
        if ((choice & 3) == 0) return (1ull << spread) + (choice >> 16) % 5 - 2;
        return (choice & 4 ? -1ull : 0) ^ bits >> spread;
    default:
        return 0;
    }
}

static void put(uint64_t value, int width) {
    for (int i = 0; i < width; i++) *out++ = value >> (8 * i);
}

typedef void operation(uint64_t a, uint64_t b, uint64_t c, uint64_t *result, uint64_t *flags);

static void run(const char *name, const char *kinds, int width, operation *op) {
    static uint8_t all_flags[CASES];
    uint64_t seed = 0;
    for (int i = 0; i < 16; i++) {
        if (*name) seed = seed * 31 + (uint8_t)*name;
        put(*name ? *name++ : 0, 1);
    }
    put(width, 4);
    put(CASES, 4);
    for (uint64_t i = 0; i < CASES; i++) {
        state = seed << 32 | i;
        uint64_t a = operand(kinds[0]), b = operand(kinds[1]), c = operand(kinds[2]);
        uint64_t result, flags;
        asm volatile("fsrm %0" ::"r"(i % 5));
        op(a, b, c, &result, &flags);
        put(result, width);
        all_flags[i] = flags;
    }
    for (int i = 0; i < CASES; i++) put(all_flags[i], 1);
}

#define TO_h(reg, arg) "fmv.h.x " reg ", " arg "\n"
#define TO_s(reg, arg) "fmv.w.x " reg ", " arg "\n"
#define TO_d(reg, arg) "fmv.d.x " reg ", " arg "\n"
#define TO_i(reg, arg) "mv t0, " arg "\n"
#define FROM_h "fmv.x.h %0, ft3\n"
#define FROM_s "fmv.x.w %0, ft3\n"
#define FROM_d "fmv.x.d %0, ft3\n"
#define FROM_w "mv %0, t1\n"
#define FROM_l "mv %0, t1\n"
#define FROM_c "mv %0, t1\n"
#define FROM_b "mv %0, t1\n"
enum { WIDTH_b = 1, WIDTH_c = 2, WIDTH_h = 2, WIDTH_s = 4, WIDTH_w = 4, WIDTH_d = 8, WIDTH_l = 8 };

// The operands are in ft0, ft1 and ft2, or an integer in t0; the result is in ft3 or t1.
#define RUN(name, kinds, loads, r, instruction)                                                        \
    {                                                                                                  \
        void op(uint64_t a, uint64_t b, uint64_t c, uint64_t *result, uint64_t *flags) {               \
            asm volatile(loads "fsflags zero\n" instruction "\n" FROM_##r "frflags %1\n"              \
                         : "=&r"(*result), "=&r"(*flags)                                               \
                         : "r"(a), "r"(b), "r"(c)                                                      \
                         : "t0", "t1", "ft0", "ft1", "ft2", "ft3");                                    \
        }                                                                                              \
        run(name, kinds, WIDTH_##r, op);                                                               \
    }
#define RUN1(name, k, r, instruction) RUN(name, #k "  ", TO_##k("ft0", "%2"), r, instruction)
#define RUN2(name, k, r, instruction)                                                                  \
    RUN(name, #k #k " ", TO_##k("ft0", "%2") TO_##k("ft1", "%3"), r, instruction)
#define RUN3(name, k, r, instruction)                                                                  \
    RUN(name, #k #k #k, TO_##k("ft0", "%2") TO_##k("ft1", "%3") TO_##k("ft2", "%4"), r, instruction)

// Zfa is younger than the assembler.
#define OP_FP(funct3, funct7, rd, rs1, rs2) \
    ".insn r OP_FP, " #funct3 ", " #funct7 ", " rd ", " rs1 ", " rs2

#define FORMAT(x, fmt)                                                                                 \
    RUN2("add_" #x, x, x, "fadd." #x " ft3, ft0, ft1")                                                 \
    RUN2("sub_" #x, x, x, "fsub." #x " ft3, ft0, ft1")                                                 \
    RUN2("mul_" #x, x, x, "fmul." #x " ft3, ft0, ft1")                                                 \
    RUN2("div_" #x, x, x, "fdiv." #x " ft3, ft0, ft1")                                                 \
    RUN1("sqrt_" #x, x, x, "fsqrt." #x " ft3, ft0")                                                    \
    RUN3("fma_" #x, x, x, "fmadd." #x " ft3, ft0, ft1, ft2")                                           \
    RUN3("fmsub_" #x, x, x, "fmsub." #x " ft3, ft0, ft1, ft2")                                         \
    RUN3("fnmsub_" #x, x, x, "fnmsub." #x " ft3, ft0, ft1, ft2")                                       \
    RUN3("fnmadd_" #x, x, x, "fnmadd." #x " ft3, ft0, ft1, ft2")                                       \
    RUN2("min_" #x, x, x, "fmin." #x " ft3, ft0, ft1")                                                 \
    RUN2("max_" #x, x, x, "fmax." #x " ft3, ft0, ft1")                                                 \
    RUN2("minm_" #x, x, x, OP_FP(2, 0x14 + fmt, "ft3", "ft0", "ft1"))                                  \
    RUN2("maxm_" #x, x, x, OP_FP(3, 0x14 + fmt, "ft3", "ft0", "ft1"))                                  \
    RUN2("eq_" #x, x, b, "feq." #x " t1, ft0, ft1")                                                    \
    RUN2("lt_" #x, x, b, "flt." #x " t1, ft0, ft1")                                                    \
    RUN2("le_" #x, x, b, "fle." #x " t1, ft0, ft1")                                                    \
    RUN2("ltq_" #x, x, b, OP_FP(5, 0x50 + fmt, "t1", "ft0", "ft1"))                                    \
    RUN2("leq_" #x, x, b, OP_FP(4, 0x50 + fmt, "t1", "ft0", "ft1"))                                    \
    RUN1("class_" #x, x, c, "fclass." #x " t1, ft0")                                             \
    RUN1(#x "_to_i32", x, w, "fcvt.w." #x " t1, ft0")                                                  \
    RUN1(#x "_to_u32", x, w, "fcvt.wu." #x " t1, ft0")                                                 \
    RUN1(#x "_to_i64", x, l, "fcvt.l." #x " t1, ft0")                                                  \
    RUN1(#x "_to_u64", x, l, "fcvt.lu." #x " t1, ft0")                                                 \
    RUN1("i32_to_" #x, i, x, "fcvt." #x ".w ft3, t0")                                                  \
    RUN1("u32_to_" #x, i, x, "fcvt." #x ".wu ft3, t0")                                                 \
    RUN1("i64_to_" #x, i, x, "fcvt." #x ".l ft3, t0")                                                  \
    RUN1("u64_to_" #x, i, x, "fcvt." #x ".lu ft3, t0")                                                 \
    RUN1(#x "_to_h", x, h, "fcvt.h." #x " ft3, ft0")                                                   \
    RUN1("h_to_" #x, h, x, "fcvt." #x ".h ft3, ft0")                                                   \
    RUN1("round_" #x, x, x, OP_FP(7, 0x20 + fmt, "ft3", "ft0", "f4"))                                  \
    RUN1("roundnx_" #x, x, x, OP_FP(7, 0x20 + fmt, "ft3", "ft0", "f5"))

// The index is the instruction's rs1 field, so the operand jumps to one of 32 instructions.
#define FLI1(fmt, i) OP_FP(0, 0x78 + fmt, "ft3", "f" #i, "f1") "\nj 2f\n"
#define FLI8(fmt, a, b, c, d, e, f, g, h) \
    FLI1(fmt, a) FLI1(fmt, b) FLI1(fmt, c) FLI1(fmt, d) FLI1(fmt, e) FLI1(fmt, f) FLI1(fmt, g) FLI1(fmt, h)
#define FLI(name, r, fmt)                                                                              \
    RUN(name, "n  ", ".option push\n.option norvc\n", r,                                               \
        "la t1, 1f\nslli t0, %2, 3\nadd t1, t1, t0\njr t1\n1:\n"                                       \
        FLI8(fmt, 0, 1, 2, 3, 4, 5, 6, 7) FLI8(fmt, 8, 9, 10, 11, 12, 13, 14, 15)                      \
        FLI8(fmt, 16, 17, 18, 19, 20, 21, 22, 23) FLI8(fmt, 24, 25, 26, 27, 28, 29, 30, 31)            \
        "2:\n.option pop")

void trap(void) {
    uint64_t cause;
    asm volatile("csrr %0, mcause" : "=r"(cause));
    tohost = (cause + 1) << 1 | 1;
    for (;;) {}
}

void start(void) {
    FORMAT(s, 0)
    FORMAT(d, 1)
    RUN1("s_to_d", s, d, "fcvt.d.s ft3, ft0")
    RUN1("d_to_s", d, s, "fcvt.s.d ft3, ft0")
    RUN1("d_to_i32_mod", d, w, OP_FP(1, 0x61, "t1", "ft0", "f8"))
    FLI("fli_s", s, 0)
    FLI("fli_d", d, 1)
    FLI("fli_h", h, 2)
    tohost = 1;
    for (;;) {}
}

asm(".section .text.init\n"
    ".globl _start\n"
    "_start:\n"
    "  la sp, stack_top\n"
    "  la t0, trap\n"
    "  csrw mtvec, t0\n"
    "  li t0, 0x6000\n" // mstatus.FS
    "  csrs mstatus, t0\n"
    "  j start\n"
    ".section .bss\n"
    ".balign 16\n"
    "  .zero 65536\n"
    "stack_top:\n"
    ".globl end_signature\n"
    ".set end_signature, begin_signature + (4 << 20)\n"
    ".text\n");
