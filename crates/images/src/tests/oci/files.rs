//! OCI images in folders and archives.

use std::fs;
use std::path::PathBuf;

use clade_store::Sha256;
use serde_json::json;

use super::super::world::World;
use super::{Made, descriptor, digest, file, layer};
use crate::{Error, OciImage, OciRequest, oci};

/// A layout of images in a folder of the world's.
fn layout(world: &World, images: &[(&Made, &str)]) -> PathBuf {
    let folder = world.folder.path().join("layout");
    fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
    let put = |content: &[u8]| {
        fs::write(
            folder
                .join("blobs/sha256")
                .join(Sha256::of(content).to_string()),
            content,
        )
        .unwrap()
    };
    let mut manifests = Vec::new();
    for (made, tag) in images {
        made.blobs.iter().for_each(|(_, content)| put(content));
        put(&made.manifest);
        let mut of = descriptor(&made.manifest);
        of["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        manifests.push(of);
    }
    let index = json!({"schemaVersion": 2, "manifests": manifests}).to_string();
    fs::write(folder.join("index.json"), index).unwrap();
    fs::write(
        folder.join("oci-layout"),
        r#"{"imageLayoutVersion": "1.0.0"}"#,
    )
    .unwrap();
    folder
}

fn ensure(world: &World, name: String) -> Result<OciImage, Error> {
    let request = OciRequest {
        name,
        ..OciRequest::default()
    };
    oci::ensure(&world.setup(), &request, &world.said)
}

#[test]
fn layouts_and_archives_of_them_hold_the_same_image() {
    let world = World::new();
    let (ours, foreign) = (Made::for_platform("riscv64"), Made::for_platform("arm64"));
    let folder = layout(&world, &[(&ours, "one"), (&foreign, "two")]);
    let path = folder.to_str().unwrap();
    let image = ensure(&world, format!("oci:{path}:one")).unwrap();
    assert_eq!(format!("sha256:{}", image.digest), digest(&ours.manifest));
    assert!(
        ensure(&world, format!("{path}:two"))
            .unwrap_err()
            .to_string()
            .contains("linux/arm64")
    );
    let error = ensure(&world, format!("oci:{path}:three"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("one, two"), "{error}");
    assert!(
        ensure(&world, format!("oci:{path}/blobs"))
            .unwrap_err()
            .to_string()
            .contains("layout")
    );

    let archive = world.folder.path().join("image.tar");
    let mut tar = tar::Builder::new(fs::File::create(&archive).unwrap());
    tar.append_dir_all(".", &folder).unwrap();
    tar.finish().unwrap();
    let of_archive = ensure(&world, format!("oci-archive:{}:one", archive.display())).unwrap();
    assert_eq!(of_archive.digest, image.digest);
    let cut = fs::read(&archive).unwrap();
    fs::write(&archive, &cut[..cut.len() / 3]).unwrap();
    let fresh = World::new();
    assert!(ensure(&fresh, format!("{}:one", archive.display())).is_err());
    assert!(ensure(&fresh, "oci-archive:/no/such.tar".to_owned()).is_err());

    // A blob that is not what its name says.
    let world = World::new();
    let folder = layout(&world, &[(&ours, "one")]);
    let blob = folder
        .join("blobs/sha256")
        .join(&ours.first_layer().0["sha256:".len()..]);
    fs::write(blob, "forged").unwrap();
    let error = ensure(&world, format!("oci:{}", folder.display()))
        .unwrap_err()
        .to_string();
    assert!(error.contains("damaged or forged"), "{error}");
}

#[test]
fn archives_of_docker_save_are_read() {
    let world = World::new();
    let layers = [layer(&[("etc/one", "saved")]), layer(&[("etc/two", "too")])];
    let config = json!({
        "architecture": "riscv64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": layers.each_ref().map(|of| digest(of))},
    })
    .to_string();
    let manifest = json!([{"Config": "c.json", "RepoTags": ["x/y:saved"], "Layers": ["1/layer.tar", "2/layer.tar"]}]);
    let archive = world.folder.path().join("saved.tar");
    let mut tar = tar::Builder::new(fs::File::create(&archive).unwrap());
    for (path, content) in [
        ("1/layer.tar", &layers[0][..]),
        ("2/layer.tar", &layers[1]),
        ("c.json", config.as_bytes()),
        ("manifest.json", manifest.to_string().as_bytes()),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, path, content).unwrap();
    }
    tar.finish().unwrap();
    for name in ["", ":saved"] {
        let image = ensure(
            &world,
            format!("docker-archive:{}{name}", archive.display()),
        )
        .unwrap();
        if let Some(one) = file(&image, "/etc/one") {
            assert_eq!(one, "saved");
        }
    }
    let error = ensure(
        &world,
        format!("docker-archive:{}:other", archive.display()),
    )
    .unwrap_err();
    assert!(error.to_string().contains("x/y:saved"), "{error}");
}
