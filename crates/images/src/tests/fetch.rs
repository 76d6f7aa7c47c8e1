use std::fs;
use std::thread;

use super::world::{
    BUSYBOX, BUSYBOX_CONTENT, INDEX, KERNEL, KERNEL_CONTENT, RELEASE, World, dead_mirror, deb,
    read_cpio,
};
use crate::openpgp::tests::Signer;
use crate::{Architecture, Error, Package, Request, Source, firmware, image};

#[test]
fn an_image_is_built_from_the_packages() {
    let world = World::new();
    let image = world.ensure().unwrap();
    assert_eq!(
        (image.name.as_str(), image.kernel_version.as_str()),
        ("mini:trixie", "6.12-riscv64")
    );
    assert_eq!(fs::read(&image.kernel).unwrap(), KERNEL_CONTENT);
    let files = read_cpio(&fs::read(&image.initrd).unwrap());
    let content = |path: &str| String::from_utf8_lossy(&files[path].1).into_owned();
    assert_eq!(files["bin/busybox"], (0o100_755, BUSYBOX_CONTENT.to_vec()));
    assert_eq!(files["bin/sh"], (0o120_777, b"busybox".to_vec()));
    assert!(content("init").starts_with("#!/bin/sh\n"));
    assert_eq!(content("usr/sbin/dropbear"), "of dropbear-bin");
    let libraries = "lib/riscv64-linux-gnu";
    assert_eq!(content(&format!("{libraries}/libz.so.1")), "of zlib1g");
    assert!(content("usr/libexec/clade-agent").starts_with("\x7fELF"));
    let modules = "lib/modules/6.12-riscv64";
    assert_eq!(
        content(&format!("{modules}/modules.dep")),
        "kernel/net/core/failover.ko:\n\
         kernel/drivers/net/net-failover.ko: kernel/net/core/failover.ko\n\
         kernel/drivers/net/virtio_net.ko: kernel/drivers/net/net-failover.ko kernel/net/core/failover.ko\n"
    );
    assert_eq!(
        content(&format!("{modules}/modules.alias")),
        "alias virtio:d00000001v* virtio_net\n"
    );
    assert!(
        files[&format!("{modules}/kernel/net/core/failover.ko")]
            .1
            .starts_with(b"\x7fELF")
    );
    assert!(!files.contains_key(&format!("{modules}/kernel/sound/noise.ko")));
    let listed = image::list(&world.setup()).unwrap();
    assert!(listed[0].cached && listed[0].size > 0, "{listed:?}");
}

#[test]
fn an_image_is_built_where_kernel_and_modules_are_packages_of_their_own() {
    let world = World::new();
    world.publish_split("7.0");
    let image = world.ensure().unwrap();
    assert_eq!(image.kernel_version, "7.0-riscv64");
    assert_eq!(image.packages.len(), 4 + 8);
    assert_eq!(fs::read(&image.kernel).unwrap(), KERNEL_CONTENT);
    let files = read_cpio(&fs::read(&image.initrd).unwrap());
    assert!(files.contains_key("lib/modules/7.0-riscv64/kernel/net/core/failover.ko"));
}

#[test]
fn a_cached_image_needs_no_mirror() {
    let world = World::new();
    let image = world.ensure().unwrap();
    let asked = world.server.request_count();
    assert_eq!(world.ensure_offline().unwrap(), image);
    assert_eq!(world.ensure().unwrap(), image);
    assert_eq!(world.server.request_count(), asked);
}

#[test]
fn a_damaged_image_is_refused_and_built_again_from_cached_packages() {
    let world = World::new();
    let image = world.ensure().unwrap();
    let good = fs::read(&image.initrd).unwrap();
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    fs::write(&image.initrd, &bad).unwrap();
    assert_eq!(world.ensure_offline().unwrap(), image);
    assert_eq!(fs::read(&image.initrd).unwrap(), good);
    assert!(world.said.all().contains("damaged"), "{}", world.said.all());
}

#[test]
fn a_damaged_package_is_fetched_again() {
    let world = World::new();
    let first = world
        .packages(&["busybox-static"], world.server.url())
        .unwrap();
    assert_eq!(first[0].read("/usr/bin/busybox").unwrap(), BUSYBOX_CONTENT);
    let asked = world.server.request_count();
    assert_eq!(
        world.packages(&["busybox-static"], dead_mirror()).unwrap(),
        first
    );
    assert_eq!(world.server.request_count(), asked);
    fs::write(&first[0].path, "damaged").unwrap();
    assert_eq!(
        world
            .packages(&["busybox-static"], world.server.url())
            .unwrap(),
        first
    );
    assert_eq!(first[0].read("usr/bin/busybox").unwrap(), BUSYBOX_CONTENT);
    let entries = first[0].entries().unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].path, "usr/bin/busybox");
    assert!(matches!(
        first[0].read("usr/bin/no"),
        Err(Error::NoFile { .. })
    ));
}

#[test]
fn a_newer_kernel_comes_only_when_asked_for() {
    let world = World::new();
    let old = world.ensure().unwrap();
    world.publish("6.13", &[]);
    assert_eq!(world.ensure().unwrap(), old);
    let refresh = Request {
        refresh: true,
        ..world.request()
    };
    let new = image::ensure(&world.setup(), &refresh, &world.said).unwrap();
    assert_eq!(new.kernel_version, "6.13-riscv64");
    // A machine may just be starting from the old one.
    assert!(old.initrd.exists());
    assert_eq!(world.ensure().unwrap(), new);
}

#[test]
fn a_release_by_another_key_is_refused() {
    let world = World::new();
    let signed = String::from_utf8(world.server.content(RELEASE)).unwrap();
    let text = world.signer.trust().verify(signed.as_bytes()).unwrap();
    world.server.put(RELEASE, Signer::new().sign(&text));
    let error = world.failure();
    assert!(
        matches!(&error, Error::Signature { reason, .. } if reason.contains("not trusted")),
        "{error}"
    );
}

#[test]
fn an_altered_or_unsigned_release_is_refused() {
    let world = World::new();
    let signed = String::from_utf8(world.server.content(RELEASE)).unwrap();
    for altered in [
        signed.replace("Origin: Debian", "Origin: Dibeian"),
        signed
            .split("-----BEGIN PGP SIGNATURE")
            .next()
            .unwrap()
            .to_owned(),
        "Suite: trixie\n".to_owned(),
        String::new(),
    ] {
        world.server.put(RELEASE, altered);
        let error = world.failure();
        assert!(matches!(error, Error::Signature { .. }), "{error}");
    }
}

#[test]
fn a_release_of_another_suite_is_refused() {
    let world = World::new();
    world
        .server
        .put("dists/forky/InRelease", world.server.content(RELEASE));
    let request = Request {
        name: "mini:forky".to_owned(),
        ..world.request()
    };
    let error = image::ensure(&world.setup(), &request, &world.said).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("it is for trixie (stable), not for forky"),
        "{error}"
    );
}

#[test]
fn a_wrong_index_is_refused_and_thrown_away() {
    let world = World::new();
    let good = world.server.content(INDEX);
    let mut bad = good.clone();
    bad[20] ^= 1;
    world.server.put(INDEX, bad);
    let error = world.failure();
    assert!(matches!(error, Error::Checksum { .. }), "{error}");
    world.server.put(INDEX, good);
    world.ensure().unwrap();
}

/// As a cache between this host and the mirror has it: a new Release file, an old index.
fn update_half(world: &World) {
    let old = world.server.content(INDEX);
    *world.date.lock().unwrap() = "Sat, 21 Nov 2026 09:15:44 UTC";
    world.publish("6.13", &[]);
    world.server.put(INDEX, old);
}

#[test]
fn a_mirror_in_the_middle_of_an_update_is_used_as_it_was() {
    let kernel = "cache/packages/linux-image-6.12-riscv64_6.12_riscv64.deb";
    // By the suite's other name.
    let world = World::new();
    for (name, other) in [
        (RELEASE, "InRelease"),
        (INDEX, "main/binary-riscv64/Packages.xz"),
    ] {
        let content = world.server.content(name);
        world.server.put(&format!("dists/stable/{other}"), content);
    }
    update_half(&world);
    world.ensure().unwrap();
    let said = world.said.all();
    assert!(
        said.contains("in the middle of an update of trixie"),
        "{said}"
    );
    assert!(said.contains("2026-09-12"), "{said}");
    assert!(world.folder.path().join(kernel).exists());

    // As it was kept here.
    let world = World::new();
    world
        .packages(&["busybox-static"], world.server.url())
        .unwrap();
    update_half(&world);
    world.ensure().unwrap();
    assert!(world.said.all().contains("in the middle of an update"));
    // What was kept is still that which goes together.
    world.ensure_offline().unwrap();

    // Nowhere.
    let world = World::new();
    update_half(&world);
    assert!(matches!(world.failure(), Error::Checksum { .. }));
}

#[test]
fn what_was_before_must_be_signed_and_older() {
    let world = World::new();
    let [release, index] = [RELEASE, INDEX].map(|path| world.server.content(path));
    update_half(&world);
    let mut forged = release.clone();
    let at = forged
        .windows(4)
        .position(|bytes| bytes == b"2026")
        .unwrap();
    forged[at + 3] = b'5';
    world.server.put("dists/stable/InRelease", forged);
    world
        .server
        .put("dists/stable/main/binary-riscv64/Packages.xz", index);
    assert!(matches!(world.failure(), Error::Checksum { .. }));
    // It may be by another name, but must be this suite.
    let other = String::from_utf8(world.server.content(RELEASE)).unwrap();
    assert!(other.contains("Codename: trixie"));
    world
        .server
        .put("dists/stable/InRelease", other.into_bytes());
    assert!(matches!(world.failure(), Error::Checksum { .. }));
    world.server.put("dists/stable/InRelease", release);
    world.ensure().unwrap();
}

#[test]
fn a_wrong_package_is_refused_and_thrown_away() {
    let world = World::new();
    let good = world.server.content(KERNEL);
    let mut bad = good.clone();
    bad[200] ^= 1;
    world.server.put(KERNEL, bad);
    let error = world.failure();
    let text = error.to_string();
    assert!(
        matches!(error, Error::Checksum { .. }) && text.contains("thrown away"),
        "{text}"
    );
    world.server.put(KERNEL, good);
    world.ensure().unwrap();
}

#[test]
fn a_broken_download_is_resumed_where_it_ended() {
    let world = World::new();
    world.server.cut(KERNEL, 100);
    world.server.cut(BUSYBOX, 0);
    world.ensure().unwrap();
    assert_eq!(
        world.server.requests(KERNEL),
        [None, Some("bytes=100-".to_owned())]
    );
    assert_eq!(world.server.requests(BUSYBOX), [None, None]);
    assert!(
        world.said.all().contains("resuming"),
        "{}",
        world.said.all()
    );
}

#[test]
fn a_mirror_that_cannot_resume_sends_all_again() {
    let world = World::new();
    world.server.ignore_ranges();
    world.server.cut(KERNEL, 100);
    world.ensure().unwrap();
    assert_eq!(world.server.requests(KERNEL).len(), 2);
}

#[test]
fn a_piece_of_another_file_is_not_built_upon() {
    let world = World::new();
    let folder = world.setup().cache.join("packages");
    fs::create_dir_all(&folder).unwrap();
    for (path, piece) in [(KERNEL, vec![7; 100]), (BUSYBOX, vec![7; 1 << 20])] {
        let name = path.rsplit('/').next().unwrap();
        fs::write(folder.join(format!("{name}.partial")), piece).unwrap();
    }
    world.ensure().unwrap();
}

#[test]
fn a_file_of_the_wrong_length_is_refused() {
    let world = World::new();
    let content = world.server.content(KERNEL);
    let longer = [&content[..], b"and more"].concat();
    for wrong in [&content[..content.len() - 1], &content[..0]] {
        world.server.put(KERNEL, wrong);
        let error = world.failure();
        assert!(matches!(error, Error::Checksum { .. }), "{error}");
    }
    // Nothing after the right content is looked at.
    world.server.put(KERNEL, longer);
    world.ensure().unwrap();
}

#[test]
fn a_connection_that_always_breaks_at_the_same_place_is_given_up() {
    let world = World::new();
    world.server.ignore_ranges();
    world.server.cut_always(KERNEL, 100);
    let error = world.failure();
    assert!(matches!(error, Error::Network { .. }), "{error}");
    assert!(world.server.requests(KERNEL).len() < 10);
}

#[test]
fn a_refused_connection_says_what_to_do() {
    let world = World::new();
    let text = world.ensure_offline().unwrap_err().to_string();
    assert!(
        text.contains("--mirror") && text.contains("InRelease"),
        "{text}"
    );
}

#[test]
fn a_mirror_without_the_file_is_told_with_its_status() {
    let world = World::new();
    world.server.remove(RELEASE);
    let error = world.failure();
    assert!(
        matches!(error, Error::Status { status: 404, .. }),
        "{error}"
    );
}

#[test]
fn a_package_that_needs_more_space_than_there_is_is_not_begun() {
    let world = World::new();
    let size = format!("Size: {}\n", world.server.content(KERNEL).len());
    world.publish("6.12", &[(&size, "Size: 1000000000000000000\n")]);
    let error = world.failure();
    assert!(
        matches!(
            error,
            Error::NoSpace {
                needed: 1_000_000_000_000_000_000,
                ..
            }
        ),
        "{error}"
    );
    assert!(world.server.requests(KERNEL).is_empty());
}

#[test]
fn file_names_that_leave_the_pool_are_refused() {
    let world = World::new();
    for name in [
        "../../etc/passwd",
        "/etc/passwd",
        "pool/a b.deb",
        "pool/..",
        "pool//x.deb",
        "pool/?x",
    ] {
        world.publish("6.12", &[(KERNEL, name)]);
        let error = world.failure();
        assert!(matches!(error, Error::Malformed { .. }), "{error}");
    }
}

#[test]
fn unknown_images_and_suites_are_told_from_known_ones() {
    let world = World::new();
    for (name, expected) in [
        ("maxi", "known images: mini"),
        ("", "known images: mini"),
        ("mini:../x", "not the name of a Debian suite"),
        ("mini:", "not the name of a Debian suite"),
    ] {
        let request = Request {
            name: name.to_owned(),
            ..world.request()
        };
        let error = image::ensure(&world.setup(), &request, &world.said)
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(world.server.request_count(), 0);
}

#[test]
fn a_suite_without_riscv_says_which_have_it() {
    let world = World::new();
    let error = world
        .packages(&["opensbi"], world.server.url())
        .unwrap_err();
    assert!(
        matches!(&error, Error::NoPackage { name, .. } if name == "opensbi"),
        "{error}"
    );
    let signed = String::from_utf8(world.server.content(RELEASE)).unwrap();
    let text = world.signer.trust().verify(signed.as_bytes()).unwrap();
    let without = text.replace("binary-riscv64", "binary-amd64");
    world.server.put(RELEASE, world.signer.sign(&without));
    let text = world.failure().to_string();
    assert!(text.contains("no packages for riscv64"), "{text}");
}

#[test]
fn a_closure_holds_what_is_depended_on_but_what_is_left_out() {
    let world = World::new();
    let source = |mirror| Source {
        mirror: Some(mirror),
        ..Source::default()
    };
    let online = source(world.server.url());
    let without = ["kmod", "linux-initramfs-tool"];
    let names = ["linux-image-riscv64", "linux-image-6.12-riscv64"];
    let closure = |source| world.closure("linux-image-riscv64", &without, source);
    assert_eq!(closure(&online).unwrap(), names);
    assert_eq!(closure(&source(dead_mirror())).unwrap(), names);
    let error = world.closure(names[0], &without[..1], &online).unwrap_err();
    assert!(
        matches!(&error, Error::NoPackage { name, .. } if name == without[1]),
        "{error}"
    );
}

#[test]
fn a_suite_without_the_architecture_says_so() {
    let world = World::new();
    let source = Source {
        mirror: Some(world.server.url()),
        architecture: Architecture::Amd64,
        ..Source::default()
    };
    let error = world.closure("busybox-static", &[], &source).unwrap_err();
    assert!(
        error.to_string().contains("no packages for amd64"),
        "{error}"
    );
}

#[test]
fn two_fetchers_at_once_share_one_fetch() {
    let world = World::new();
    let images: Vec<_> = thread::scope(|scope| {
        let fetchers: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| world.ensure().unwrap()))
            .collect();
        fetchers
            .into_iter()
            .map(|fetcher| fetcher.join().unwrap())
            .collect()
    });
    assert!(images.iter().all(|image| *image == images[0]));
    assert_eq!(world.server.requests(KERNEL).len(), 1);
    assert_eq!(world.server.requests(RELEASE).len(), 1);
}

#[test]
fn firmware_is_unpacked_once_for_each_version_of_its_package() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let package = |version: &str| Package {
        name: "efi".to_owned(),
        version: version.to_owned(),
        path: folder.path().join(format!("efi_{version}_all.deb")),
    };
    let keep = |version| firmware::keep(&world.setup(), &package(version), "usr/share/efi/CODE.fd");
    for version in ["1", "2"] {
        let content = deb(&[("usr/share/efi/CODE.fd", version)]);
        fs::write(package(version).path, content).unwrap();
        let kept = keep(version).unwrap();
        assert_eq!(fs::read_to_string(&kept).unwrap(), version);
        // Nothing is read any more.
        fs::remove_file(package(version).path).unwrap();
        assert_eq!(keep(version).unwrap(), kept);
    }
    assert_ne!(keep("1").unwrap(), keep("2").unwrap());
}

#[test]
fn a_removed_image_is_gone_until_it_is_wanted_again() {
    let world = World::new();
    let remove = || image::remove(&world.setup(), "mini", Architecture::Riscv64, &world.said);
    let absent = |error: Error| assert!(matches!(error, Error::NotHere { .. }), "{error}");
    absent(remove().unwrap_err());
    let image = world.ensure().unwrap();
    assert_eq!(remove().unwrap(), "mini:trixie");
    assert!(!image.kernel.exists());
    assert!(!image::list(&world.setup()).unwrap()[0].cached);
    absent(remove().unwrap_err());
    assert_eq!(world.ensure().unwrap().kernel, image.kernel);
}
