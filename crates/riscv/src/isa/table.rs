//! The table of the 32-bit instructions.
//!
//! A row reads: operation, mnemonic, encoding, format, operands as the assembler writes them, extension,
//! class, and Popek and Goldberg's properties. In an encoding `d`, `s`, `t` and `u` are the bits of
//! `rd`, `rs1`, `rs2` and `rs3`, `m` those of the rounding mode, `q` and `l` are `aq` and `rl`, `i` is a bit
//! of the immediate, and `-` is ignored. In the operands `d`, `s`, `t` and `u` name integer registers and
//! `fd`, `fs`, `ft`, `fu` floating-point ones; [`super::disassemble`] explains the others.
//!
//! Where two rows match the same word the one that fixes more bits is meant: hints are carved
//! out of instructions that would do nothing.

use super::spec::{Class, Extension, Format, Spec, parse_pattern};

macro_rules! instructions {
    ($($op:ident $mnemonic:literal $pattern:literal $format:ident $operands:literal
       $extension:ident $class:ident [$($flag:ident)*];)*) => {
        /// An operation: one per row of the instruction table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum Op {
            $(#[doc = concat!("`", $mnemonic, "`")] $op,)*
        }

        impl Op {
            /// Every operation, in the order of the table.
            pub const ALL: &[Op] = &[$(Op::$op,)*];
        }

        /// The rows, indexed by operation.
        pub(super) static SPECS: [Spec; Op::ALL.len()] = [$({
            let (mask, value) = parse_pattern($pattern, 32);
            Spec {
                op: Op::$op,
                mnemonic: $mnemonic,
                pattern: $pattern,
                format: Format::$format,
                operands: $operands,
                extension: Extension::$extension,
                class: Class::$class,
                privileged: false $(| flag!($flag privileged))*,
                sensitive: false $(| flag!($flag sensitive))*,
                mask,
                value,
            }
        },)*];
    };
}

macro_rules! flag {
    (privileged privileged) => {
        true
    };
    (privileged sensitive) => {
        false
    };
    (sensitive privileged) => {
        false
    };
    (sensitive sensitive) => {
        true
    };
}

impl Op {
    /// The row of the table that describes this operation.
    #[inline]
    pub fn spec(self) -> &'static Spec {
        &SPECS[self as usize]
    }

    /// Whether no instruction after this one may be decoded into the same block: it may jump, trap
    /// by design, or change the mode, the address translation, the instructions or a CSR.
    #[inline]
    pub fn ends_block(self) -> bool {
        matches!(
            self.spec().class,
            Class::Branch | Class::Jump | Class::Csr | Class::System
        ) || self == Op::FenceI
    }
}

instructions! {
    // RV64I
    Lui           "lui"             "iiiiiiiiiiiiiiiiiiii ddddd 0110111"        U        "d,upper"        I           Alu    [];
    Auipc         "auipc"           "iiiiiiiiiiiiiiiiiiii ddddd 0010111"        U        "d,upper"        I           Alu    [];
    Jal           "jal"             "iiiiiiiiiiiiiiiiiiii ddddd 1101111"        J        "d,target"       I           Jump   [];
    Jalr          "jalr"            "iiiiiiiiiiii sssss 000 ddddd 1100111"      I        "d,imm(s)"       I           Jump   [];
    Beq           "beq"             "iiiiiii ttttt sssss 000 iiiii 1100011"     B        "s,t,target"     I           Branch [];
    Bne           "bne"             "iiiiiii ttttt sssss 001 iiiii 1100011"     B        "s,t,target"     I           Branch [];
    Blt           "blt"             "iiiiiii ttttt sssss 100 iiiii 1100011"     B        "s,t,target"     I           Branch [];
    Bge           "bge"             "iiiiiii ttttt sssss 101 iiiii 1100011"     B        "s,t,target"     I           Branch [];
    Bltu          "bltu"            "iiiiiii ttttt sssss 110 iiiii 1100011"     B        "s,t,target"     I           Branch [];
    Bgeu          "bgeu"            "iiiiiii ttttt sssss 111 iiiii 1100011"     B        "s,t,target"     I           Branch [];
    Lb            "lb"              "iiiiiiiiiiii sssss 000 ddddd 0000011"      I        "d,imm(s)"       I           Load   [];
    Lh            "lh"              "iiiiiiiiiiii sssss 001 ddddd 0000011"      I        "d,imm(s)"       I           Load   [];
    Lw            "lw"              "iiiiiiiiiiii sssss 010 ddddd 0000011"      I        "d,imm(s)"       I           Load   [];
    Ld            "ld"              "iiiiiiiiiiii sssss 011 ddddd 0000011"      I        "d,imm(s)"       I           Load   [];
    Lbu           "lbu"             "iiiiiiiiiiii sssss 100 ddddd 0000011"      I        "d,imm(s)"       I           Load   [];
    Lhu           "lhu"             "iiiiiiiiiiii sssss 101 ddddd 0000011"      I        "d,imm(s)"       I           Load   [];
    Lwu           "lwu"             "iiiiiiiiiiii sssss 110 ddddd 0000011"      I        "d,imm(s)"       I           Load   [];
    Sb            "sb"              "iiiiiii ttttt sssss 000 iiiii 0100011"     S        "t,imm(s)"       I           Store  [];
    Sh            "sh"              "iiiiiii ttttt sssss 001 iiiii 0100011"     S        "t,imm(s)"       I           Store  [];
    Sw            "sw"              "iiiiiii ttttt sssss 010 iiiii 0100011"     S        "t,imm(s)"       I           Store  [];
    Sd            "sd"              "iiiiiii ttttt sssss 011 iiiii 0100011"     S        "t,imm(s)"       I           Store  [];
    Addi          "addi"            "iiiiiiiiiiii sssss 000 ddddd 0010011"      I        "d,s,imm"        I           Alu    [];
    Slti          "slti"            "iiiiiiiiiiii sssss 010 ddddd 0010011"      I        "d,s,imm"        I           Alu    [];
    Sltiu         "sltiu"           "iiiiiiiiiiii sssss 011 ddddd 0010011"      I        "d,s,imm"        I           Alu    [];
    Xori          "xori"            "iiiiiiiiiiii sssss 100 ddddd 0010011"      I        "d,s,imm"        I           Alu    [];
    Ori           "ori"             "iiiiiiiiiiii sssss 110 ddddd 0010011"      I        "d,s,imm"        I           Alu    [];
    Andi          "andi"            "iiiiiiiiiiii sssss 111 ddddd 0010011"      I        "d,s,imm"        I           Alu    [];
    Slli          "slli"            "000000 iiiiii sssss 001 ddddd 0010011"     Shift    "d,s,shamt"      I           Alu    [];
    Srli          "srli"            "000000 iiiiii sssss 101 ddddd 0010011"     Shift    "d,s,shamt"      I           Alu    [];
    Srai          "srai"            "010000 iiiiii sssss 101 ddddd 0010011"     Shift    "d,s,shamt"      I           Alu    [];
    Add           "add"             "0000000 ttttt sssss 000 ddddd 0110011"     R        "d,s,t"          I           Alu    [];
    Sub           "sub"             "0100000 ttttt sssss 000 ddddd 0110011"     R        "d,s,t"          I           Alu    [];
    Sll           "sll"             "0000000 ttttt sssss 001 ddddd 0110011"     R        "d,s,t"          I           Alu    [];
    Slt           "slt"             "0000000 ttttt sssss 010 ddddd 0110011"     R        "d,s,t"          I           Alu    [];
    Sltu          "sltu"            "0000000 ttttt sssss 011 ddddd 0110011"     R        "d,s,t"          I           Alu    [];
    Xor           "xor"             "0000000 ttttt sssss 100 ddddd 0110011"     R        "d,s,t"          I           Alu    [];
    Srl           "srl"             "0000000 ttttt sssss 101 ddddd 0110011"     R        "d,s,t"          I           Alu    [];
    Sra           "sra"             "0100000 ttttt sssss 101 ddddd 0110011"     R        "d,s,t"          I           Alu    [];
    Or            "or"              "0000000 ttttt sssss 110 ddddd 0110011"     R        "d,s,t"          I           Alu    [];
    And           "and"             "0000000 ttttt sssss 111 ddddd 0110011"     R        "d,s,t"          I           Alu    [];
    Addiw         "addiw"           "iiiiiiiiiiii sssss 000 ddddd 0011011"      I        "d,s,imm"        I           Alu    [];
    Slliw         "slliw"           "0000000 iiiii sssss 001 ddddd 0011011"     Shift    "d,s,shamt"      I           Alu    [];
    Srliw         "srliw"           "0000000 iiiii sssss 101 ddddd 0011011"     Shift    "d,s,shamt"      I           Alu    [];
    Sraiw         "sraiw"           "0100000 iiiii sssss 101 ddddd 0011011"     Shift    "d,s,shamt"      I           Alu    [];
    Addw          "addw"            "0000000 ttttt sssss 000 ddddd 0111011"     R        "d,s,t"          I           Alu    [];
    Subw          "subw"            "0100000 ttttt sssss 000 ddddd 0111011"     R        "d,s,t"          I           Alu    [];
    Sllw          "sllw"            "0000000 ttttt sssss 001 ddddd 0111011"     R        "d,s,t"          I           Alu    [];
    Srlw          "srlw"            "0000000 ttttt sssss 101 ddddd 0111011"     R        "d,s,t"          I           Alu    [];
    Sraw          "sraw"            "0100000 ttttt sssss 101 ddddd 0111011"     R        "d,s,t"          I           Alu    [];
    Fence         "fence"           "iiii iiii iiii ----- 000 ----- 0001111"    Fence    "pred,succ"      I           Fence  [];
    Ecall         "ecall"           "000000000000 00000 000 00000 1110011"      None     ""               I           System [];
    Ebreak        "ebreak"          "000000000001 00000 000 00000 1110011"      None     ""               I           System [];

    // Zifencei, Zihintpause, Zihintntl
    FenceI        "fence.i"         "------------ ----- 001 ----- 0001111"      None     ""               Zifencei    Fence  [];
    Pause         "pause"           "0000 0001 0000 00000 000 00000 0001111"    None     ""               Zihintpause Hint   [];
    NtlP1         "ntl.p1"          "0000000 00010 00000 000 00000 0110011"     None     ""               Zihintntl   Hint   [];
    NtlPall       "ntl.pall"        "0000000 00011 00000 000 00000 0110011"     None     ""               Zihintntl   Hint   [];
    NtlS1         "ntl.s1"          "0000000 00100 00000 000 00000 0110011"     None     ""               Zihintntl   Hint   [];
    NtlAll        "ntl.all"         "0000000 00101 00000 000 00000 0110011"     None     ""               Zihintntl   Hint   [];

    // Zicsr: privileged or not by bits 9:8 of the number
    Csrrw         "csrrw"           "iiiiiiiiiiii sssss 001 ddddd 1110011"      Csr      "d,csr,s"        Zicsr       Csr    [privileged sensitive];
    Csrrs         "csrrs"           "iiiiiiiiiiii sssss 010 ddddd 1110011"      Csr      "d,csr,s"        Zicsr       Csr    [privileged sensitive];
    Csrrc         "csrrc"           "iiiiiiiiiiii sssss 011 ddddd 1110011"      Csr      "d,csr,s"        Zicsr       Csr    [privileged sensitive];
    Csrrwi        "csrrwi"          "iiiiiiiiiiii sssss 101 ddddd 1110011"      Csr      "d,csr,uimm"     Zicsr       Csr    [privileged sensitive];
    Csrrsi        "csrrsi"          "iiiiiiiiiiii sssss 110 ddddd 1110011"      Csr      "d,csr,uimm"     Zicsr       Csr    [privileged sensitive];
    Csrrci        "csrrci"          "iiiiiiiiiiii sssss 111 ddddd 1110011"      Csr      "d,csr,uimm"     Zicsr       Csr    [privileged sensitive];

    // M
    Mul           "mul"             "0000001 ttttt sssss 000 ddddd 0110011"     R        "d,s,t"          M           MulDiv [];
    Mulh          "mulh"            "0000001 ttttt sssss 001 ddddd 0110011"     R        "d,s,t"          M           MulDiv [];
    Mulhsu        "mulhsu"          "0000001 ttttt sssss 010 ddddd 0110011"     R        "d,s,t"          M           MulDiv [];
    Mulhu         "mulhu"           "0000001 ttttt sssss 011 ddddd 0110011"     R        "d,s,t"          M           MulDiv [];
    Div           "div"             "0000001 ttttt sssss 100 ddddd 0110011"     R        "d,s,t"          M           MulDiv [];
    Divu          "divu"            "0000001 ttttt sssss 101 ddddd 0110011"     R        "d,s,t"          M           MulDiv [];
    Rem           "rem"             "0000001 ttttt sssss 110 ddddd 0110011"     R        "d,s,t"          M           MulDiv [];
    Remu          "remu"            "0000001 ttttt sssss 111 ddddd 0110011"     R        "d,s,t"          M           MulDiv [];
    Mulw          "mulw"            "0000001 ttttt sssss 000 ddddd 0111011"     R        "d,s,t"          M           MulDiv [];
    Divw          "divw"            "0000001 ttttt sssss 100 ddddd 0111011"     R        "d,s,t"          M           MulDiv [];
    Divuw         "divuw"           "0000001 ttttt sssss 101 ddddd 0111011"     R        "d,s,t"          M           MulDiv [];
    Remw          "remw"            "0000001 ttttt sssss 110 ddddd 0111011"     R        "d,s,t"          M           MulDiv [];
    Remuw         "remuw"           "0000001 ttttt sssss 111 ddddd 0111011"     R        "d,s,t"          M           MulDiv [];

    // A
    LrW           "lr.w"            "00010 q l 00000 sssss 010 ddddd 0101111"   Amo      "d,(s)"          A           Amo    [];
    ScW           "sc.w"            "00011 q l ttttt sssss 010 ddddd 0101111"   Amo      "d,t,(s)"        A           Amo    [];
    AmoswapW      "amoswap.w"       "00001 q l ttttt sssss 010 ddddd 0101111"   Amo      "d,t,(s)"        A           Amo    [];
    AmoaddW       "amoadd.w"        "00000 q l ttttt sssss 010 ddddd 0101111"   Amo      "d,t,(s)"        A           Amo    [];
    AmoxorW       "amoxor.w"        "00100 q l ttttt sssss 010 ddddd 0101111"   Amo      "d,t,(s)"        A           Amo    [];
    AmoandW       "amoand.w"        "01100 q l ttttt sssss 010 ddddd 0101111"   Amo      "d,t,(s)"        A           Amo    [];
    AmoorW        "amoor.w"         "01000 q l ttttt sssss 010 ddddd 0101111"   Amo      "d,t,(s)"        A           Amo    [];
    AmominW       "amomin.w"        "10000 q l ttttt sssss 010 ddddd 0101111"   Amo      "d,t,(s)"        A           Amo    [];
    AmomaxW       "amomax.w"        "10100 q l ttttt sssss 010 ddddd 0101111"   Amo      "d,t,(s)"        A           Amo    [];
    AmominuW      "amominu.w"       "11000 q l ttttt sssss 010 ddddd 0101111"   Amo      "d,t,(s)"        A           Amo    [];
    AmomaxuW      "amomaxu.w"       "11100 q l ttttt sssss 010 ddddd 0101111"   Amo      "d,t,(s)"        A           Amo    [];
    LrD           "lr.d"            "00010 q l 00000 sssss 011 ddddd 0101111"   Amo      "d,(s)"          A           Amo    [];
    ScD           "sc.d"            "00011 q l ttttt sssss 011 ddddd 0101111"   Amo      "d,t,(s)"        A           Amo    [];
    AmoswapD      "amoswap.d"       "00001 q l ttttt sssss 011 ddddd 0101111"   Amo      "d,t,(s)"        A           Amo    [];
    AmoaddD       "amoadd.d"        "00000 q l ttttt sssss 011 ddddd 0101111"   Amo      "d,t,(s)"        A           Amo    [];
    AmoxorD       "amoxor.d"        "00100 q l ttttt sssss 011 ddddd 0101111"   Amo      "d,t,(s)"        A           Amo    [];
    AmoandD       "amoand.d"        "01100 q l ttttt sssss 011 ddddd 0101111"   Amo      "d,t,(s)"        A           Amo    [];
    AmoorD        "amoor.d"         "01000 q l ttttt sssss 011 ddddd 0101111"   Amo      "d,t,(s)"        A           Amo    [];
    AmominD       "amomin.d"        "10000 q l ttttt sssss 011 ddddd 0101111"   Amo      "d,t,(s)"        A           Amo    [];
    AmomaxD       "amomax.d"        "10100 q l ttttt sssss 011 ddddd 0101111"   Amo      "d,t,(s)"        A           Amo    [];
    AmominuD      "amominu.d"       "11000 q l ttttt sssss 011 ddddd 0101111"   Amo      "d,t,(s)"        A           Amo    [];
    AmomaxuD      "amomaxu.d"       "11100 q l ttttt sssss 011 ddddd 0101111"   Amo      "d,t,(s)"        A           Amo    [];

    // Zacas: a pair of registers holds the operands of `amocas.q`
    AmocasW       "amocas.w"        "00101 q l ttttt sssss 010 ddddd 0101111"   Amo      "d,t,(s)"        Zacas       Amo    [];
    AmocasD       "amocas.d"        "00101 q l ttttt sssss 011 ddddd 0101111"   Amo      "d,t,(s)"        Zacas       Amo    [];
    AmocasQ       "amocas.q"        "00101 q l ttttt sssss 100 ddddd 0101111"   AmoPair  "d,t,(s)"        Zacas       Amo    [];

    // Zawrs: `mstatus.TW` makes `wrs.nto` trap
    WrsNto        "wrs.nto"         "000000001101 00000 000 00000 1110011"      None     ""               Zawrs       System [privileged sensitive];
    WrsSto        "wrs.sto"         "000000011101 00000 000 00000 1110011"      None     ""               Zawrs       System [];

    // F
    Flw           "flw"             "iiiiiiiiiiii sssss 010 ddddd 0000111"      I        "fd,imm(s)"      F           Load   [];
    Fsw           "fsw"             "iiiiiii ttttt sssss 010 iiiii 0100111"     S        "ft,imm(s)"      F           Store  [];
    FmaddS        "fmadd.s"         "uuuuu 00 ttttt sssss mmm ddddd 1000011"    R4       "fd,fs,ft,fu,rm" F           Float  [];
    FmsubS        "fmsub.s"         "uuuuu 00 ttttt sssss mmm ddddd 1000111"    R4       "fd,fs,ft,fu,rm" F           Float  [];
    FnmsubS       "fnmsub.s"        "uuuuu 00 ttttt sssss mmm ddddd 1001011"    R4       "fd,fs,ft,fu,rm" F           Float  [];
    FnmaddS       "fnmadd.s"        "uuuuu 00 ttttt sssss mmm ddddd 1001111"    R4       "fd,fs,ft,fu,rm" F           Float  [];
    FaddS         "fadd.s"          "0000000 ttttt sssss mmm ddddd 1010011"     RRm      "fd,fs,ft,rm"    F           Float  [];
    FsubS         "fsub.s"          "0000100 ttttt sssss mmm ddddd 1010011"     RRm      "fd,fs,ft,rm"    F           Float  [];
    FmulS         "fmul.s"          "0001000 ttttt sssss mmm ddddd 1010011"     RRm      "fd,fs,ft,rm"    F           Float  [];
    FdivS         "fdiv.s"          "0001100 ttttt sssss mmm ddddd 1010011"     RRm      "fd,fs,ft,rm"    F           Float  [];
    FsqrtS        "fsqrt.s"         "0101100 00000 sssss mmm ddddd 1010011"     R1Rm     "fd,fs,rm"       F           Float  [];
    FsgnjS        "fsgnj.s"         "0010000 ttttt sssss 000 ddddd 1010011"     R        "fd,fs,ft"       F           Float  [];
    FsgnjnS       "fsgnjn.s"        "0010000 ttttt sssss 001 ddddd 1010011"     R        "fd,fs,ft"       F           Float  [];
    FsgnjxS       "fsgnjx.s"        "0010000 ttttt sssss 010 ddddd 1010011"     R        "fd,fs,ft"       F           Float  [];
    FminS         "fmin.s"          "0010100 ttttt sssss 000 ddddd 1010011"     R        "fd,fs,ft"       F           Float  [];
    FmaxS         "fmax.s"          "0010100 ttttt sssss 001 ddddd 1010011"     R        "fd,fs,ft"       F           Float  [];
    FleS          "fle.s"           "1010000 ttttt sssss 000 ddddd 1010011"     R        "d,fs,ft"        F           Float  [];
    FltS          "flt.s"           "1010000 ttttt sssss 001 ddddd 1010011"     R        "d,fs,ft"        F           Float  [];
    FeqS          "feq.s"           "1010000 ttttt sssss 010 ddddd 1010011"     R        "d,fs,ft"        F           Float  [];
    FclassS       "fclass.s"        "1110000 00000 sssss 001 ddddd 1010011"     R1       "d,fs"           F           Float  [];
    FcvtWS        "fcvt.w.s"        "1100000 00000 sssss mmm ddddd 1010011"     R1Rm     "d,fs,rm"        F           Float  [];
    FcvtWuS       "fcvt.wu.s"       "1100000 00001 sssss mmm ddddd 1010011"     R1Rm     "d,fs,rm"        F           Float  [];
    FcvtLS        "fcvt.l.s"        "1100000 00010 sssss mmm ddddd 1010011"     R1Rm     "d,fs,rm"        F           Float  [];
    FcvtLuS       "fcvt.lu.s"       "1100000 00011 sssss mmm ddddd 1010011"     R1Rm     "d,fs,rm"        F           Float  [];
    FcvtSW        "fcvt.s.w"        "1101000 00000 sssss mmm ddddd 1010011"     R1Rm     "fd,s,rm"        F           Float  [];
    FcvtSWu       "fcvt.s.wu"       "1101000 00001 sssss mmm ddddd 1010011"     R1Rm     "fd,s,rm"        F           Float  [];
    FcvtSL        "fcvt.s.l"        "1101000 00010 sssss mmm ddddd 1010011"     R1Rm     "fd,s,rm"        F           Float  [];
    FcvtSLu       "fcvt.s.lu"       "1101000 00011 sssss mmm ddddd 1010011"     R1Rm     "fd,s,rm"        F           Float  [];
    FmvXW         "fmv.x.w"         "1110000 00000 sssss 000 ddddd 1010011"     R1       "d,fs"           F           Float  [];
    FmvWX         "fmv.w.x"         "1111000 00000 sssss 000 ddddd 1010011"     R1       "fd,s"           F           Float  [];

    // D
    Fld           "fld"             "iiiiiiiiiiii sssss 011 ddddd 0000111"      I        "fd,imm(s)"      D           Load   [];
    Fsd           "fsd"             "iiiiiii ttttt sssss 011 iiiii 0100111"     S        "ft,imm(s)"      D           Store  [];
    FmaddD        "fmadd.d"         "uuuuu 01 ttttt sssss mmm ddddd 1000011"    R4       "fd,fs,ft,fu,rm" D           Float  [];
    FmsubD        "fmsub.d"         "uuuuu 01 ttttt sssss mmm ddddd 1000111"    R4       "fd,fs,ft,fu,rm" D           Float  [];
    FnmsubD       "fnmsub.d"        "uuuuu 01 ttttt sssss mmm ddddd 1001011"    R4       "fd,fs,ft,fu,rm" D           Float  [];
    FnmaddD       "fnmadd.d"        "uuuuu 01 ttttt sssss mmm ddddd 1001111"    R4       "fd,fs,ft,fu,rm" D           Float  [];
    FaddD         "fadd.d"          "0000001 ttttt sssss mmm ddddd 1010011"     RRm      "fd,fs,ft,rm"    D           Float  [];
    FsubD         "fsub.d"          "0000101 ttttt sssss mmm ddddd 1010011"     RRm      "fd,fs,ft,rm"    D           Float  [];
    FmulD         "fmul.d"          "0001001 ttttt sssss mmm ddddd 1010011"     RRm      "fd,fs,ft,rm"    D           Float  [];
    FdivD         "fdiv.d"          "0001101 ttttt sssss mmm ddddd 1010011"     RRm      "fd,fs,ft,rm"    D           Float  [];
    FsqrtD        "fsqrt.d"         "0101101 00000 sssss mmm ddddd 1010011"     R1Rm     "fd,fs,rm"       D           Float  [];
    FsgnjD        "fsgnj.d"         "0010001 ttttt sssss 000 ddddd 1010011"     R        "fd,fs,ft"       D           Float  [];
    FsgnjnD       "fsgnjn.d"        "0010001 ttttt sssss 001 ddddd 1010011"     R        "fd,fs,ft"       D           Float  [];
    FsgnjxD       "fsgnjx.d"        "0010001 ttttt sssss 010 ddddd 1010011"     R        "fd,fs,ft"       D           Float  [];
    FminD         "fmin.d"          "0010101 ttttt sssss 000 ddddd 1010011"     R        "fd,fs,ft"       D           Float  [];
    FmaxD         "fmax.d"          "0010101 ttttt sssss 001 ddddd 1010011"     R        "fd,fs,ft"       D           Float  [];
    FcvtSD        "fcvt.s.d"        "0100000 00001 sssss mmm ddddd 1010011"     R1Rm     "fd,fs,rm"       D           Float  [];
    FcvtDS        "fcvt.d.s"        "0100001 00000 sssss mmm ddddd 1010011"     R1Rm     "fd,fs,rx"       D           Float  [];
    FleD          "fle.d"           "1010001 ttttt sssss 000 ddddd 1010011"     R        "d,fs,ft"        D           Float  [];
    FltD          "flt.d"           "1010001 ttttt sssss 001 ddddd 1010011"     R        "d,fs,ft"        D           Float  [];
    FeqD          "feq.d"           "1010001 ttttt sssss 010 ddddd 1010011"     R        "d,fs,ft"        D           Float  [];
    FclassD       "fclass.d"        "1110001 00000 sssss 001 ddddd 1010011"     R1       "d,fs"           D           Float  [];
    FcvtWD        "fcvt.w.d"        "1100001 00000 sssss mmm ddddd 1010011"     R1Rm     "d,fs,rm"        D           Float  [];
    FcvtWuD       "fcvt.wu.d"       "1100001 00001 sssss mmm ddddd 1010011"     R1Rm     "d,fs,rm"        D           Float  [];
    FcvtLD        "fcvt.l.d"        "1100001 00010 sssss mmm ddddd 1010011"     R1Rm     "d,fs,rm"        D           Float  [];
    FcvtLuD       "fcvt.lu.d"       "1100001 00011 sssss mmm ddddd 1010011"     R1Rm     "d,fs,rm"        D           Float  [];
    FcvtDW        "fcvt.d.w"        "1101001 00000 sssss mmm ddddd 1010011"     R1Rm     "fd,s,rx"        D           Float  [];
    FcvtDWu       "fcvt.d.wu"       "1101001 00001 sssss mmm ddddd 1010011"     R1Rm     "fd,s,rx"        D           Float  [];
    FcvtDL        "fcvt.d.l"        "1101001 00010 sssss mmm ddddd 1010011"     R1Rm     "fd,s,rm"        D           Float  [];
    FcvtDLu       "fcvt.d.lu"       "1101001 00011 sssss mmm ddddd 1010011"     R1Rm     "fd,s,rm"        D           Float  [];
    FmvXD         "fmv.x.d"         "1110001 00000 sssss 000 ddddd 1010011"     R1       "d,fs"           D           Float  [];
    FmvDX         "fmv.d.x"         "1111001 00000 sssss 000 ddddd 1010011"     R1       "fd,s"           D           Float  [];

    // Zfhmin
    Flh           "flh"             "iiiiiiiiiiii sssss 001 ddddd 0000111"      I        "fd,imm(s)"      Zfhmin      Load   [];
    Fsh           "fsh"             "iiiiiii ttttt sssss 001 iiiii 0100111"     S        "ft,imm(s)"      Zfhmin      Store  [];
    FcvtSH        "fcvt.s.h"        "0100000 00010 sssss mmm ddddd 1010011"     R1Rm     "fd,fs,rx"       Zfhmin      Float  [];
    FcvtDH        "fcvt.d.h"        "0100001 00010 sssss mmm ddddd 1010011"     R1Rm     "fd,fs,rx"       Zfhmin      Float  [];
    FcvtHS        "fcvt.h.s"        "0100010 00000 sssss mmm ddddd 1010011"     R1Rm     "fd,fs,rm"       Zfhmin      Float  [];
    FcvtHD        "fcvt.h.d"        "0100010 00001 sssss mmm ddddd 1010011"     R1Rm     "fd,fs,rm"       Zfhmin      Float  [];
    FmvXH         "fmv.x.h"         "1110010 00000 sssss 000 ddddd 1010011"     R1       "d,fs"           Zfhmin      Float  [];
    FmvHX         "fmv.h.x"         "1111010 00000 sssss 000 ddddd 1010011"     R1       "fd,s"           Zfhmin      Float  [];

    // Zfa, for single and double precision (its half-precision part needs Zfh)
    FliS          "fli.s"           "1111000 00001 sssss 000 ddddd 1010011"     R1       "fd,fli"         Zfa         Float  [];
    FminmS        "fminm.s"         "0010100 ttttt sssss 010 ddddd 1010011"     R        "fd,fs,ft"       Zfa         Float  [];
    FmaxmS        "fmaxm.s"         "0010100 ttttt sssss 011 ddddd 1010011"     R        "fd,fs,ft"       Zfa         Float  [];
    FroundS       "fround.s"        "0100000 00100 sssss mmm ddddd 1010011"     R1Rm     "fd,fs,rm"       Zfa         Float  [];
    FroundnxS     "froundnx.s"      "0100000 00101 sssss mmm ddddd 1010011"     R1Rm     "fd,fs,rm"       Zfa         Float  [];
    FleqS         "fleq.s"          "1010000 ttttt sssss 100 ddddd 1010011"     R        "d,fs,ft"        Zfa         Float  [];
    FltqS         "fltq.s"          "1010000 ttttt sssss 101 ddddd 1010011"     R        "d,fs,ft"        Zfa         Float  [];
    FliD          "fli.d"           "1111001 00001 sssss 000 ddddd 1010011"     R1       "fd,fli"         Zfa         Float  [];
    FminmD        "fminm.d"         "0010101 ttttt sssss 010 ddddd 1010011"     R        "fd,fs,ft"       Zfa         Float  [];
    FmaxmD        "fmaxm.d"         "0010101 ttttt sssss 011 ddddd 1010011"     R        "fd,fs,ft"       Zfa         Float  [];
    FroundD       "fround.d"        "0100001 00100 sssss mmm ddddd 1010011"     R1Rm     "fd,fs,rm"       Zfa         Float  [];
    FroundnxD     "froundnx.d"      "0100001 00101 sssss mmm ddddd 1010011"     R1Rm     "fd,fs,rm"       Zfa         Float  [];
    FleqD         "fleq.d"          "1010001 ttttt sssss 100 ddddd 1010011"     R        "d,fs,ft"        Zfa         Float  [];
    FltqD         "fltq.d"          "1010001 ttttt sssss 101 ddddd 1010011"     R        "d,fs,ft"        Zfa         Float  [];
    FcvtmodWD     "fcvtmod.w.d"     "1100001 01000 sssss 001 ddddd 1010011"     R1       "d,fs,rtz"       Zfa         Float  [];

    // Zba
    AddUw         "add.uw"          "0000100 ttttt sssss 000 ddddd 0111011"     R        "d,s,t"          Zba         Alu    [];
    Sh1add        "sh1add"          "0010000 ttttt sssss 010 ddddd 0110011"     R        "d,s,t"          Zba         Alu    [];
    Sh2add        "sh2add"          "0010000 ttttt sssss 100 ddddd 0110011"     R        "d,s,t"          Zba         Alu    [];
    Sh3add        "sh3add"          "0010000 ttttt sssss 110 ddddd 0110011"     R        "d,s,t"          Zba         Alu    [];
    Sh1addUw      "sh1add.uw"       "0010000 ttttt sssss 010 ddddd 0111011"     R        "d,s,t"          Zba         Alu    [];
    Sh2addUw      "sh2add.uw"       "0010000 ttttt sssss 100 ddddd 0111011"     R        "d,s,t"          Zba         Alu    [];
    Sh3addUw      "sh3add.uw"       "0010000 ttttt sssss 110 ddddd 0111011"     R        "d,s,t"          Zba         Alu    [];
    SlliUw        "slli.uw"         "000010 iiiiii sssss 001 ddddd 0011011"     Shift    "d,s,shamt"      Zba         Alu    [];

    // Zbb
    Andn          "andn"            "0100000 ttttt sssss 111 ddddd 0110011"     R        "d,s,t"          Zbb         Alu    [];
    Orn           "orn"             "0100000 ttttt sssss 110 ddddd 0110011"     R        "d,s,t"          Zbb         Alu    [];
    Xnor          "xnor"            "0100000 ttttt sssss 100 ddddd 0110011"     R        "d,s,t"          Zbb         Alu    [];
    Clz           "clz"             "0110000 00000 sssss 001 ddddd 0010011"     R1       "d,s"            Zbb         Alu    [];
    Ctz           "ctz"             "0110000 00001 sssss 001 ddddd 0010011"     R1       "d,s"            Zbb         Alu    [];
    Cpop          "cpop"            "0110000 00010 sssss 001 ddddd 0010011"     R1       "d,s"            Zbb         Alu    [];
    Clzw          "clzw"            "0110000 00000 sssss 001 ddddd 0011011"     R1       "d,s"            Zbb         Alu    [];
    Ctzw          "ctzw"            "0110000 00001 sssss 001 ddddd 0011011"     R1       "d,s"            Zbb         Alu    [];
    Cpopw         "cpopw"           "0110000 00010 sssss 001 ddddd 0011011"     R1       "d,s"            Zbb         Alu    [];
    Min           "min"             "0000101 ttttt sssss 100 ddddd 0110011"     R        "d,s,t"          Zbb         Alu    [];
    Minu          "minu"            "0000101 ttttt sssss 101 ddddd 0110011"     R        "d,s,t"          Zbb         Alu    [];
    Max           "max"             "0000101 ttttt sssss 110 ddddd 0110011"     R        "d,s,t"          Zbb         Alu    [];
    Maxu          "maxu"            "0000101 ttttt sssss 111 ddddd 0110011"     R        "d,s,t"          Zbb         Alu    [];
    SextB         "sext.b"          "0110000 00100 sssss 001 ddddd 0010011"     R1       "d,s"            Zbb         Alu    [];
    SextH         "sext.h"          "0110000 00101 sssss 001 ddddd 0010011"     R1       "d,s"            Zbb         Alu    [];
    ZextH         "zext.h"          "0000100 00000 sssss 100 ddddd 0111011"     R1       "d,s"            Zbb         Alu    [];
    Rol           "rol"             "0110000 ttttt sssss 001 ddddd 0110011"     R        "d,s,t"          Zbb         Alu    [];
    Ror           "ror"             "0110000 ttttt sssss 101 ddddd 0110011"     R        "d,s,t"          Zbb         Alu    [];
    Rori          "rori"            "011000 iiiiii sssss 101 ddddd 0010011"     Shift    "d,s,shamt"      Zbb         Alu    [];
    Rolw          "rolw"            "0110000 ttttt sssss 001 ddddd 0111011"     R        "d,s,t"          Zbb         Alu    [];
    Rorw          "rorw"            "0110000 ttttt sssss 101 ddddd 0111011"     R        "d,s,t"          Zbb         Alu    [];
    Roriw         "roriw"           "0110000 iiiii sssss 101 ddddd 0011011"     Shift    "d,s,shamt"      Zbb         Alu    [];
    OrcB          "orc.b"           "0010100 00111 sssss 101 ddddd 0010011"     R1       "d,s"            Zbb         Alu    [];
    Rev8          "rev8"            "0110101 11000 sssss 101 ddddd 0010011"     R1       "d,s"            Zbb         Alu    [];

    // Zbc
    Clmul         "clmul"           "0000101 ttttt sssss 001 ddddd 0110011"     R        "d,s,t"          Zbc         Alu    [];
    Clmulr        "clmulr"          "0000101 ttttt sssss 010 ddddd 0110011"     R        "d,s,t"          Zbc         Alu    [];
    Clmulh        "clmulh"          "0000101 ttttt sssss 011 ddddd 0110011"     R        "d,s,t"          Zbc         Alu    [];

    // Zbs
    Bclr          "bclr"            "0100100 ttttt sssss 001 ddddd 0110011"     R        "d,s,t"          Zbs         Alu    [];
    Bclri         "bclri"           "010010 iiiiii sssss 001 ddddd 0010011"     Shift    "d,s,shamt"      Zbs         Alu    [];
    Bext          "bext"            "0100100 ttttt sssss 101 ddddd 0110011"     R        "d,s,t"          Zbs         Alu    [];
    Bexti         "bexti"           "010010 iiiiii sssss 101 ddddd 0010011"     Shift    "d,s,shamt"      Zbs         Alu    [];
    Binv          "binv"            "0110100 ttttt sssss 001 ddddd 0110011"     R        "d,s,t"          Zbs         Alu    [];
    Binvi         "binvi"           "011010 iiiiii sssss 001 ddddd 0010011"     Shift    "d,s,shamt"      Zbs         Alu    [];
    Bset          "bset"            "0010100 ttttt sssss 001 ddddd 0110011"     R        "d,s,t"          Zbs         Alu    [];
    Bseti         "bseti"           "001010 iiiiii sssss 001 ddddd 0010011"     Shift    "d,s,shamt"      Zbs         Alu    [];

    // Zicond
    CzeroEqz      "czero.eqz"       "0000111 ttttt sssss 101 ddddd 0110011"     R        "d,s,t"          Zicond      Alu    [];
    CzeroNez      "czero.nez"       "0000111 ttttt sssss 111 ddddd 0110011"     R        "d,s,t"          Zicond      Alu    [];

    // Zicbom, Zicboz: `menvcfg` and `senvcfg` make them trap, and turn `cbo.inval` into a flush
    CboInval      "cbo.inval"       "000000000000 sssss 010 00000 0001111"      R1       "(s)"            Zicbom      Cache  [privileged sensitive];
    CboClean      "cbo.clean"       "000000000001 sssss 010 00000 0001111"      R1       "(s)"            Zicbom      Cache  [privileged];
    CboFlush      "cbo.flush"       "000000000010 sssss 010 00000 0001111"      R1       "(s)"            Zicbom      Cache  [privileged];
    CboZero       "cbo.zero"        "000000000100 sssss 010 00000 0001111"      R1       "(s)"            Zicboz      Cache  [privileged];

    // Zicbop: carved out of `ori` with rd = 0
    PrefetchI     "prefetch.i"      "iiiiiii 00000 sssss 110 00000 0010011"     Prefetch "imm(s)"         Zicbop      Hint   [];
    PrefetchR     "prefetch.r"      "iiiiiii 00001 sssss 110 00000 0010011"     Prefetch "imm(s)"         Zicbop      Hint   [];
    PrefetchW     "prefetch.w"      "iiiiiii 00011 sssss 110 00000 0010011"     Prefetch "imm(s)"         Zicbop      Hint   [];

    // Zimop: `rd` becomes 0
    MopR          "mop.r"           "1 i 00 ii 0111 ii sssss 100 ddddd 1110011" Mop      "d,s"            Zimop       Alu    [];
    MopRr         "mop.rr"          "1 i 00 ii 1 ttttt sssss 100 ddddd 1110011" MopRr    "d,s,t"          Zimop       Alu    [];

    // Privileged architecture and Svinval
    Mret          "mret"            "001100000010 00000 000 00000 1110011"      None     ""               Priv        System [privileged sensitive];
    Sret          "sret"            "000100000010 00000 000 00000 1110011"      None     ""               Priv        System [privileged sensitive];
    Wfi           "wfi"             "000100000101 00000 000 00000 1110011"      None     ""               Priv        System [privileged sensitive];
    SfenceVma     "sfence.vma"      "0001001 ttttt sssss 000 00000 1110011"     R        "s,t"            Priv        System [privileged sensitive];
    SinvalVma     "sinval.vma"      "0001011 ttttt sssss 000 00000 1110011"     R        "s,t"            Svinval     System [privileged sensitive];
    SfenceWInval  "sfence.w.inval"  "0001100 00000 00000 000 00000 1110011"     None     ""               Svinval     System [privileged sensitive];
    SfenceInvalIr "sfence.inval.ir" "0001100 00001 00000 000 00000 1110011"     None     ""               Svinval     System [privileged sensitive];
}
