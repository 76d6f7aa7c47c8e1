use super::*;
use crate::tests::world::World;

const RISCV: Architecture = Architecture::Riscv64;

/// A template that has nothing in its files.
fn make_for(setup: &Setup, variant: &Variant, architecture: Architecture) -> Folder {
    let folder = Folder::of(setup, &variant.folder(), architecture);
    let file = |name: &str| {
        clade_store::write(&folder.path.join(name), name.as_bytes()).unwrap();
        KeptFile::of(&folder.path, name.to_owned()).unwrap()
    };
    let manifest = Manifest {
        name: variant.title(),
        kernel_version: String::new(),
        recipe: recipe(architecture),
        suite_date: Timestamp::UNIX_EPOCH,
        built: Timestamp::UNIX_EPOCH,
        sources: Vec::new(),
        packages: Vec::new(),
        kernel: file("kernel"),
        initrd: file("initrd"),
        disk: file("disk"),
    };
    clade_store::write(&folder.path.join("left-over"), b"").unwrap();
    folder.publish(&manifest).unwrap();
    assert!(!folder.path.join("left-over").exists());
    folder
}

fn make(setup: &Setup, variant: &Variant) -> Folder {
    make_for(setup, variant, RISCV)
}

#[test]
fn templates_of_one_name_differ_by_architecture() {
    let world = World::new();
    let setup = world.setup();
    let variant = Variant::new("debian", None, &[]).unwrap();
    let riscv = make(&setup, &variant);
    let amd = make_for(&setup, &variant, Architecture::Amd64);
    let listed: Vec<_> = list(&setup)
        .iter()
        .map(|image| (image.name.clone(), image.architecture))
        .collect();
    let name = "debian:trixie".to_owned();
    let both = Architecture::ALL.map(|architecture| (name.clone(), architecture));
    assert_eq!(listed, both);
    remove(&setup, &name, Architecture::Amd64, &[], &world.said).unwrap();
    assert!(riscv.usable(&Silent).is_some() && amd.manifest().is_none());
}

#[test]
fn templates_are_removed_by_the_names_that_they_are_listed_by() {
    let world = World::new();
    let setup = world.setup();
    let include = ["g++".to_owned(), "git".to_owned()];
    let plain = make(&setup, &Variant::new("debian", None, &[]).unwrap());
    let more = make(&setup, &Variant::new("debian", None, &include).unwrap());
    assert!(plain.usable(&Silent).is_some());
    let remove = |name: &str| remove(&setup, name, RISCV, &[], &world.said);
    assert_eq!(remove("debian").unwrap(), "debian:trixie");
    assert!(!plain.path.exists() && more.path.exists());
    let needed = [more.path.join("disk").canonicalize().unwrap()];
    let error =
        super::remove(&setup, "debian:trixie+g+++git", RISCV, &needed, &world.said).unwrap_err();
    assert!(matches!(error, Error::Needed { .. }), "{error}");
    for absent in ["debian", "debian:sid", "debian:trixie+git", "debian:.."] {
        let error = remove(absent).unwrap_err();
        assert!(matches!(error, Error::NotHere { .. }), "{error}");
    }
    remove("debian:trixie+g+++git").unwrap();
    assert!(!more.path.exists());
}

#[test]
fn a_template_that_was_written_to_is_not_used() {
    let world = World::new();
    let folder = make(&world.setup(), &Variant::new("debian", None, &[]).unwrap());
    fs::write(folder.path.join("disk"), "longer than it was").unwrap();
    assert!(folder.usable(&world.said).is_none());
    assert!(world.said.all().contains("damaged"), "{}", world.said.all());
}

#[test]
fn records_keep_their_form() {
    let json = r#"{"file":"disk-1","size":7,"modified":[1,2],"space":512}"#;
    let file: KeptFile = serde_json::from_str(json).unwrap();
    assert_eq!(serde_json::to_string(&file).unwrap(), json);
}
