//! The workloads: what each runs, sized so that QEMU needs some seconds for it.

/// How this host, with the same packages for its architecture, compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Native {
    /// It runs the workload and prints the same.
    Same,
    /// It runs the workload; what it prints depends on the architecture.
    Differs,
    /// It cannot run the workload: its program is made for the guest.
    No,
}

/// One thing that is measured.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    /// A shell script. It prints a checksum of all that it computed.
    pub(crate) script: &'static str,
    pub(crate) native: Native,
}

const fn guest(name: &'static str, script: &'static str) -> Workload {
    Workload {
        name,
        script,
        native: Native::No,
    }
}

const fn both(name: &'static str, script: &'static str) -> Workload {
    Workload {
        name,
        script,
        native: Native::Same,
    }
}

/// All of them, in the order of the table.
pub(crate) const ALL: [Workload; 34] = [
    // Our own programs: one thing many times.
    guest("integer", "clade-bench-int"),
    guest("float", "clade-bench-fp"),
    guest("calls", "clade-bench-calls"),
    guest("dispatch", "clade-bench-dispatch"),
    guest("chase", "clade-bench-chase"),
    guest("getppid", "clade-bench-getppid"),
    guest("pingpong", "clade-bench-pingpong"),
    guest(
        "forkexec",
        "i=0; while [ $i -lt 300 ]; do clade-bench-true; i=$((i+1)); done",
    ),
    // Interpreters and a database.
    both(
        "shell",
        "i=0; s=0; while [ $i -lt 80000 ]; do i=$((i+1)); s=$(((s*31+i)%65521)); done; echo $s",
    ),
    both("python-int", "python3.13 /bench/integers.py"),
    both("python-nbody", "python3.13 /bench/nbody.py"),
    both("perl", "perl /bench/words.pl"),
    both("sqlite", "sqlite3 :memory: </bench/rows.sql"),
    both(
        "sort",
        "head -n 60000 /bench/text >lines; sort lines >sorted; sha256sum sorted",
    ),
    // A compiler.
    Workload {
        name: "gcc",
        script: "gcc-14 -O2 -c -o program.o /bench/program.c; sha256sum program.o
gcc-14 -o program program.o; ./program",
        native: Native::Differs,
    },
    // Compression.
    both(
        "gzip",
        "gzip -6 -n -c /bench/text >text.gz; sha256sum text.gz",
    ),
    both(
        "gunzip",
        "gzip -1 -n -c /bench/text >text.gz
for i in 1 2; do gzip -d -c text.gz >text; done
sha256sum text.gz text",
    ),
    both(
        "zstd",
        "zstd -3 -T1 -q -c /bench/text >text.zst; sha256sum text.zst",
    ),
    both(
        "xz",
        "head -c 1500000 /bench/text >text
7za a -bso0 -bsp0 -txz -mx=5 -mmt1 text.xz text; sha256sum text.xz",
    ),
    // Cryptography.
    both(
        "sha256",
        "cd /bench; openssl dgst -sha256 -r text text text text",
    ),
    both(
        "aes",
        "key=000102030405060708090a0b0c0d0e0f
cat /bench/text /bench/text /bench/text >plain
openssl enc -aes-128-cbc -K $key -iv $key -in plain -out cipher; tail -c 16 cipher | sha256sum",
    ),
    both(
        "bignum",
        "openssl prime -checks 128 -hex $(cat /bench/prime)",
    ),
    // stress-ng, by classes.
    both(
        "ng-cpu",
        "stress-ng -q --cpu 1 --cpu-method int64 --cpu-ops 400",
    ),
    both(
        "ng-fft",
        "stress-ng -q --cpu 1 --cpu-method fft --cpu-ops 200",
    ),
    both("ng-matrix", "stress-ng -q --matrix 1 --matrix-ops 400"),
    both("ng-branch", "stress-ng -q --branch 1 --branch-ops 5000"),
    both(
        "ng-funccall",
        "stress-ng -q --funccall 1 --funccall-ops 150",
    ),
    both("ng-pipe", "stress-ng -q --pipe 1 --pipe-ops 20000"),
    both("ng-switch", "stress-ng -q --switch 1 --switch-ops 20000"),
    both("ng-fork", "stress-ng -q --fork 1 --fork-ops 500"),
    both("ng-get", "stress-ng -q --get 1 --get-ops 15000"),
    both("ng-memcpy", "stress-ng -q --memcpy 1 --memcpy-ops 60"),
    both(
        "ng-stream",
        "stress-ng -q --stream 1 --stream-ops 20 --stream-l3-size 1M",
    ),
    both(
        "ng-mmap",
        "stress-ng -q --mmap 1 --mmap-bytes 16M --mmap-ops 10",
    ),
];

/// The 2048-bit prime of RFC 3526, group 14.
pub(crate) const PRIME: &str = "\
FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74\
020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437\
4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF05\
98DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB\
9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B\
E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF695581718\
3995497CEA956AE515D2261898FA051015728E5A8AACAA68FFFFFFFFFFFFFFFF";
