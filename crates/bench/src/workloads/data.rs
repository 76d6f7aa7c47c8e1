//! What the workloads work on, the same in every run.

use std::fmt::Write;

/// Bytes of [`text`].
pub(crate) const TEXT_SIZE: usize = 16 << 20;

/// Marsaglia's xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

/// Lines of made-up words, common ones more often than rare ones: compresses about like prose.
pub(crate) fn text() -> Vec<u8> {
    let mut random = Random(0x1234_5678_9abc_def1);
    let words: Vec<Vec<u8>> = (0..20_000)
        .map(|_| {
            let length = 2 + random.below(9);
            (0..length)
                .map(|_| {
                    b"etaoinshrdlucmfwypvbgkjqxz"[random.below(26).min(random.below(26)) as usize]
                })
                .collect()
        })
        .collect();
    let mut text = Vec::with_capacity(TEXT_SIZE + 64);
    while text.len() < TEXT_SIZE {
        for _ in 0..4 + random.below(12) {
            let rank = random.below(words.len() as u64);
            let rank = random.below(rank + 1);
            text.extend_from_slice(&words[random.below(rank + 1) as usize]);
            text.push(b' ');
        }
        text.extend(format!("{}\n", random.below(100_000)).bytes());
    }
    text.truncate(TEXT_SIZE - 1);
    text.push(b'\n');
    text
}

/// A C program of `functions` functions with loops, branches, switches and structures; it prints a
/// checksum of what they compute.
pub(crate) fn c_source(functions: u32) -> String {
    let mut random = Random(0x0dd0_1234_5678_4321);
    let mut source = String::from(
        "#include <stdio.h>\n#include <stdint.h>\n#include <string.h>\n\n\
         struct item { uint32_t key; uint64_t sum; double weight; struct item *next; };\n\n",
    );
    for index in 0..functions {
        function(&mut source, &mut random, index).expect("a string takes all");
    }
    source.push_str(
        "int main(void)\n{\n\tstatic struct item items[64];\n\tuint32_t values[64];\n\tuint64_t sum = 0;\n\
         \tfor (int i = 0; i < 64; i++) {\n\t\tvalues[i] = i * 2654435761u;\n\
         \t\titems[i].key = values[i] >> 7;\n\t\titems[i].next = i ? &items[i - 1] : 0;\n\t}\n",
    );
    for index in 0..functions {
        let _ = writeln!(
            source,
            "\tsum = sum * 31 + f{index}(values, &items[63], {});",
            16 + index % 48
        );
    }
    source.push_str("\tprintf(\"%016llx\\n\", (unsigned long long)sum);\n\treturn 0;\n}\n");
    source
}

fn function(source: &mut String, random: &mut Random, index: u32) -> std::fmt::Result {
    writeln!(
        source,
        "uint64_t f{index}(uint32_t *v, struct item *list, int n)\n{{\n\tuint64_t a = {}, b = {};\n\
         \tfor (int i = 0; i < n; i++) {{\n\t\tuint32_t x = v[i], y = v[(i * {} + {}) & 63];",
        random.below(1000),
        random.below(1000),
        1 + random.below(30),
        random.below(64),
    )?;
    for _ in 0..4 + random.below(4) {
        let (left, right) = (
            pick(random, &["a", "b", "x", "y"]),
            pick(random, &["x", "y", "i"]),
        );
        let operator = pick(random, &["+", "^", "-", "|", "*", "&"]);
        let target = pick(random, &["a", "b", "x", "y"]);
        let constant = random.below(5000);
        writeln!(
            source,
            "\t\t{target} += ({left} {operator} {right}) + {constant};"
        )?;
    }
    writeln!(source, "\t\tswitch ((x ^ y) & 7) {{")?;
    for case in 0..7 {
        let target = pick(random, &["a", "b"]);
        let shift = 1 + random.below(20);
        writeln!(
            source,
            "\t\tcase {case}: {target} ^= ({target} << {shift}) + v[(x + {case}) & 63]; break;"
        )?;
    }
    writeln!(
        source,
        "\t\tdefault: v[i & 63] = (uint32_t)(a + b); break;\n\t\t}}\n\
         \t\tif (a % {} < b % {})\n\t\t\tb += (uint64_t)((double)(x & 1023) * {}.5 + list->weight);\n\t}}",
        3 + random.below(50),
        3 + random.below(50),
        random.below(9),
    )?;
    writeln!(
        source,
        "\tfor (struct item *p = list; p; p = p->next) {{\n\t\tp->sum += a ^ p->key;\n\
         \t\tp->weight = (double)(p->sum & 255) / {}.0;\n\t\tb += p->sum;\n\t}}",
        1 << random.below(5),
    )?;
    if index > 0 && random.below(3) == 0 {
        let other = random.below(u64::from(index));
        writeln!(
            source,
            "\tif ((a & 15) == {} && n > 20)\n\t\tb += f{other}(v, list, n / 2);",
            random.below(16)
        )?;
    }
    writeln!(source, "\treturn a ^ (b << 1);\n}}\n")
}

fn pick<'a>(random: &mut Random, from: &[&'a str]) -> &'a str {
    from[random.below(from.len() as u64) as usize]
}
