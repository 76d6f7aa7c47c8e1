//! Requests that no kernel sends.

use super::*;

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

#[test]
fn nothing_happens_for_requests_and_replies_without_room() {
    let mut guest = Guest::new();
    let header = fuse_in_header {
        len: 40,
        opcode: fuse_opcode::FUSE_STATFS as u32,
        nodeid: ROOT,
        ..fuse_in_header::default()
    };
    for length in 0..40 {
        let mut request = header.as_bytes()[..length].to_vec();
        let mut reply = [0; 200];
        let request = [VolatileSlice::from(&mut request[..])];
        assert_eq!(
            guest
                .share
                .serve(&request, &[VolatileSlice::from(&mut reply[..])]),
            0
        );
    }
    for room in 0..97 {
        let mut request = header.as_bytes().to_vec();
        let mut reply = vec![0; room];
        let request = [VolatileSlice::from(&mut request[..])];
        let length = guest
            .share
            .serve(&request, &[VolatileSlice::from(&mut reply[..])]);
        match room {
            0..16 => assert_eq!(length, 0),
            // What does not fit is an error.
            16..96 => assert_eq!(
                (length, &reply[4..8]),
                (16, &(-libc::EIO).to_le_bytes()[..])
            ),
            _ => assert_eq!(length, 96),
        }
    }
}

#[test]
fn any_request_gets_an_answer_and_none_brings_the_server_down() {
    let mut guest = Guest::with_limits(Limits { known: 8, open: 8 });
    std::fs::write(guest.path("file"), "contents").expect("file");
    std::fs::create_dir(guest.path("folder")).expect("folder");
    let mut numbers = Numbers(88_172_645_463_325_252);
    for _ in 0..20_000 {
        let opcode = numbers.below(54) as u32;
        let Ok(operation) = fuse_opcode::try_from(opcode) else {
            continue;
        };
        // A full disk would be the tests' fault.
        if matches!(
            operation,
            fuse_opcode::FUSE_FALLOCATE | fuse_opcode::FUSE_SYNCFS
        ) {
            continue;
        }
        let mut body: Vec<u8> = (0..numbers.below(12))
            .flat_map(|_| {
                let number = match numbers.below(4) {
                    0 => numbers.next(),
                    1 => u64::MAX,
                    _ => numbers.below(12),
                };
                number.to_le_bytes()
            })
            .collect();
        let names = ["file", "folder", "new", "..", "a/b", "link"];
        for _ in 0..numbers.below(3) {
            body.extend(text(&[names[numbers.below(6) as usize]]));
        }
        let node = numbers.below(20);
        let _ = guest.ask(operation, node, &body);
        assert!(guest.share.inodes.count().1 <= 8);
    }
    guest.begin();
    assert!(guest.attributes(ROOT).is_ok());
}

#[test]
fn locks_are_left_to_the_guest() {
    let mut guest = Guest::new();
    let init = fuse_init_in {
        major: 7,
        minor: 38,
        flags: u32::MAX,
        ..fuse_init_in::default()
    };
    let answer: fuse_init_out = guest
        .ask_for(fuse_opcode::FUSE_INIT, 0, init.as_bytes())
        .expect("init");
    assert_eq!(answer.flags & (FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS), 0);
    let lock = [0u8; size_of::<fuse_lk_in>()];
    for operation in [
        fuse_opcode::FUSE_GETLK,
        fuse_opcode::FUSE_SETLK,
        fuse_opcode::FUSE_SETLKW,
    ] {
        assert_eq!(guest.ask(operation, ROOT, &lock).err(), Some(libc::ENOSYS));
    }
}

#[test]
fn versions_without_virtio_fs_are_refused() {
    let mut guest = Guest::new();
    for (major, minor, expected) in [(6, 99, false), (7, 30, false), (7, 31, true), (8, 0, true)] {
        let init = fuse_init_in {
            major,
            minor,
            ..fuse_init_in::default()
        };
        let answer: Result<fuse_init_out, i32> =
            guest.ask_for(fuse_opcode::FUSE_INIT, 0, &init.as_bytes()[..16]);
        assert_eq!(answer.is_ok(), expected, "{major}.{minor}");
        if let Ok(answer) = answer {
            assert_eq!((answer.major, answer.flags), (7, 0));
        }
    }
}
