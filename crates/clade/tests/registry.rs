//! Templates that travel through Debian's registry on this host, to another home.
//!
//! Needs the image `mini` and docker-registry: without them these tests cannot run; they say so, and pass.

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use common::gate::{GUEST, Gate, USER};
use common::images::{architecture, skip};
use common::machine::{Machine, NAME};
use common::oci_image::{digest, image_of};
use common::registry::{Line, Registry};
use common::{Finished, Home, finish};

/// A machine with a file in memory, whose home has the template `t1` of it, and a registry.
struct World {
    machine: Machine,
    registry: Registry,
}

impl World {
    fn new(test: &str, accounts: Option<&str>) -> Option<Self> {
        let machine = Machine::start(test, &["-m", "256M"])?;
        let registry = Registry::start(test, &machine.home, accounts)?;
        machine.run("echo before >/tmp/state");
        machine.done(&["template", "create", "t1", "--from", NAME]);
        Some(Self { machine, registry })
    }

    /// The name of a template in the registry.
    fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.registry.host)
    }

    /// `clade template push`, by a user whose cache knows nothing that other tests did.
    fn try_push(&self, template: &str, reference: &str) -> Finished {
        let arguments = ["template", "push", template, reference, "--json"];
        let mut command = self.machine.home.clade(&arguments);
        command.env("XDG_CACHE_HOME", self.machine.home.path("own-cache"));
        finish(command.spawn().expect("clade"))
    }

    fn push(&self, template: &str, reference: &str) -> Value {
        parsed(&self.try_push(template, reference))
    }

    /// The manifest that a tag stands for, as the registry has it.
    fn manifest(&self, pushed: &Value) -> Value {
        let digest = pushed["digest"].as_str().expect("digest");
        let path = self.registry.blob(&digest["sha256:".len()..]);
        serde_json::from_slice(&fs::read(path).expect("manifest")).expect("JSON")
    }
}

fn parsed(done: &Finished) -> Value {
    assert_eq!(done.code, Some(0), "{done:?}");
    serde_json::from_str(done.stdout()).expect("JSON")
}

fn pull(home: &Home, reference: &str, name: &str) -> Finished {
    home.run(&["template", "pull", reference, "--name", name, "--json"])
}

fn refused(done: &Finished) -> &str {
    assert_eq!(done.code, Some(125), "{done:?}");
    &done.stderr
}

/// The checksum of a template's file in a registry.
fn blob_of(manifest: &Value, suffix: &str) -> String {
    let layers = manifest["layers"].as_array().expect("layers");
    let title = |layer: &Value| layer["annotations"]["org.opencontainers.image.title"].clone();
    let is_meant = |layer: &&Value| title(layer).as_str().expect("title").ends_with(suffix);
    let layer = layers.iter().find(is_meant).expect(suffix);
    layer["digest"].as_str().expect("digest")["sha256:".len()..].to_owned()
}

/// Names in a home's folder of templates.
fn templates(home: &Home) -> Vec<PathBuf> {
    let folder = fs::read_dir(home.path("data/clade/templates"));
    let entries = folder.into_iter().flatten();
    entries.map(|entry| entry.expect("entry").path()).collect()
}

#[test]
fn only_what_is_new_travels() {
    let test = "only_what_is_new_travels";
    let Some(world) = World::new(test, None) else {
        return;
    };
    let (web1, web2) = (world.at("team/web:1"), world.at("team/web:2"));
    let first = world.push("t1", &web1);
    let count = first["sent"].as_u64().expect("count");
    assert!(count >= 5 && first["there"] == 0, "{first}");
    let whole = first["sent_bytes"].as_u64().expect("bytes");
    assert!(whole > 20 << 20, "{first}");

    // Again, and it is the same; the registry says that nothing came.
    let chunks = world.registry.requests("PATCH");
    assert!(chunks >= 5);
    let again = world.push("t1", &web1);
    assert_eq!(again["digest"], first["digest"]);
    assert_eq!(
        (&again["sent"], &again["there"]),
        (&json!(0), &json!(count))
    );
    assert_eq!(world.registry.requests("PATCH"), chunks);
    // Nor does it if nothing is remembered.
    fs::remove_dir_all(world.machine.home.path("own-cache/clade/oci/contents")).expect("folder");
    assert_eq!(world.push("t1", &web1), again);
    assert_eq!(world.registry.requests("PATCH"), chunks);

    // One that came from it: its own memory, and small things.
    let change = "echo after >>/tmp/state; head -c 1000000 /dev/urandom >/tmp/more";
    world.machine.done(&["clone", "t1", "--name", "two"]);
    world
        .machine
        .done(&["exec", "two", "--", "sh", "-c", change]);
    world
        .machine
        .done(&["template", "create", "t2", "--from", "two"]);
    let line = Line::to(&world.registry);
    let second = world.push("t2", &format!("{}/team/web:2", line.host));
    let bytes = second["sent_bytes"].as_u64().expect("bytes");
    assert!(bytes > 1_000_000 && bytes < whole / 4, "{second} {first}");
    assert!(second["there"].as_u64().expect("count") >= 3, "{second}");
    assert!(line.passed() < bytes + 100_000, "{}", line.passed());
    // Another repository of the registry takes it from there.
    let other = world.push("t2", &format!("{}/other", line.host));
    assert_eq!(other["digest"], second["digest"]);
    assert_eq!(other["sent"], 0, "{other}");

    assert_is_an_artifact(test, &world, &web1, &first);
    world.machine.done(&["rm", "-f", NAME, "two"]);
    assert_comes_elsewhere(&world, &web1, &web2, whole);
}

/// Another home fetches only what it lacks, and what it fetched runs.
fn assert_comes_elsewhere(world: &World, web1: &str, web2: &str, whole: u64) {
    let home = Home::new();
    let pulled = home.run(&["template", "pull", web1]);
    assert_eq!(pulled.stdout(), "t1\n", "{pulled:?}");
    let again = home.run(&["template", "pull", web1]);
    assert!(refused(&again).contains("there is a template 't1' already"));
    let line = Line::to(&world.registry);
    let reference = web2.replace(&world.registry.host, &line.host);
    let second = parsed(&pull(&home, &reference, "mine"));
    let bytes = second["fetched_bytes"].as_u64().expect("bytes");
    assert!(bytes < whole / 4 && second["name"] == "mine", "{second}");
    assert!(line.passed() < bytes + 100_000, "{}", line.passed());
    // Of the same content there is one copy.
    assert_eq!(parsed(&pull(&home, web2, "same"))["fetched"], 0);
    assert!(home.run(&["verify"]).stdout().contains("mine is whole"));
    let look = "cat /tmp/state; hostname";
    let run = home.run(&["run", "--name", "here", "mine", "--", "sh", "-c", look]);
    assert_eq!(run.stdout(), "before\nafter\nhere\n", "{run:?}");
    // What was fetched is in the template, and nowhere else.
    let blobs = fs::read_dir(home.path("cache/clade/oci/blobs")).expect("folder");
    assert_eq!(blobs.count(), 0);
    assert_is_forgotten_with_its_template(&home);
    // What comes from a registry is known to be there.
    let third = format!("{}/third", line.host);
    let back = home.run(&["template", "push", "mine", &third, "--json"]);
    assert!(
        parsed(&back)["there"].as_u64() >= second["fetched"].as_u64(),
        "{back:?}"
    );
}

/// Where contents are is remembered as long as a template has them.
fn assert_is_forgotten_with_its_template(home: &Home) {
    let contents = || {
        let folder = fs::read_dir(home.path("cache/clade/oci/contents")).expect("folder");
        folder.count()
    };
    let all = contents();
    let removed = |name: &str| {
        let removed = home.run(&["template", "rm", name]);
        assert_eq!(removed.code, Some(0), "{removed:?}");
    };
    removed("same");
    assert_eq!(contents(), all, "they are those of 'mine', too");
    removed("t1");
    let left = contents();
    assert!(0 < left && left < all, "{left} of {all}");
}

/// Other programs know what it is.
fn assert_is_an_artifact(test: &str, world: &World, reference: &str, pushed: &Value) {
    let manifest = world.manifest(pushed);
    assert_eq!(
        manifest["artifactType"],
        "application/vnd.clade.template.v1"
    );
    let source = format!("docker://{reference}");
    let skopeo = |arguments: &[&str]| Command::new("skopeo").args(arguments).output();
    let raw = match skopeo(&["inspect", "--raw", "--tls-verify=false", &source]) {
        Ok(raw) => raw,
        Err(error) => return skip(test, format!("of skopeo: it is not here ({error})")),
    };
    assert!(raw.status.success(), "{raw:?}");
    let seen: Value = serde_json::from_slice(&raw.stdout).expect("JSON");
    assert_eq!(seen, manifest);
    // It checks every blob.
    let folder = world.machine.home.path("layout");
    let target = format!("oci:{}:1", folder.display());
    let copied = skopeo(&["copy", "--src-tls-verify=false", &source, &target]).expect("skopeo");
    assert!(copied.status.success(), "{copied:?}");
    let layers = manifest["layers"].as_array().expect("layers").len();
    let blobs = fs::read_dir(folder.join("blobs/sha256")).expect("blobs");
    assert_eq!(blobs.count(), layers + 2);
}

#[test]
fn what_is_no_template_and_who_may_not_are_refused() {
    let test = "what_is_no_template_and_who_may_not_are_refused";
    // The password is "secret".
    let account = "user:$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n";
    let Some(world) = World::new(test, Some(account)) else {
        return;
    };
    let web = world.at("web:1");
    let denied = world.try_push("t1", &web);
    assert!(
        refused(&denied).contains("does not let you write"),
        "{denied:?}"
    );
    assert!(denied.stderr.contains("docker login") && denied.stderr.contains(&web));
    let home = Home::new();
    let denied = pull(&home, &web, "x");
    assert!(refused(&denied).contains("docker login"), "{denied:?}");
    // "user:secret"
    let config = json!({"auths": {&world.registry.host: {"auth": "dXNlcjpzZWNyZXQ="}}});
    for home in [&world.machine.home, &home] {
        fs::create_dir(home.path(".docker")).expect("folder");
        fs::write(home.path(".docker/config.json"), config.to_string()).expect("file");
    }
    let pushed = world.push("t1", &web);

    let said = |name: &str| refused(&pull(&home, &world.at(name), "x")).to_owned();
    assert!(
        said("web:2").contains("no such template"),
        "{}",
        said("web:2")
    );
    assert!(
        said("none").contains("no such template"),
        "{}",
        said("none")
    );
    let image = image_of(&[b"layer".to_vec()], architecture(), &json!({}));
    world.registry.store(&image, "image", "latest");
    assert!(said("image").contains("clade run"), "{}", said("image"));
    for (name, from, to, why) in [
        ("newer", "template.v1", "template.v2", "newer Clade"),
        ("newest", "config.v1", "config.v2", "another program"),
        ("odd", "file.v1+gzip", "file.v1+odd", "unknown type"),
    ] {
        let manifest = world.manifest(&pushed).to_string().replace(from, to);
        let manifest = manifest.as_bytes();
        world.registry.store_manifest(manifest, name, "latest");
        assert!(said(name).contains(why), "{name}: {}", said(name));
    }
    let run = home.run(&["run", &web]);
    assert!(refused(&run).contains("clade template pull"), "{run:?}");
    for (reference, why) in [
        (format!("{web}@{}", digest(b"")), "name a tag"),
        ("oci:/tmp".to_owned(), "templates are in registries"),
        ("No Name".to_owned(), "is not the name"),
        ("127.0.0.1:1/none".to_owned(), "check the network"),
    ] {
        let done = world.try_push("t1", &reference);
        assert!(refused(&done).contains(why), "{done:?}");
    }
    let gone = world.try_push("none", &web);
    assert!(refused(&gone).contains("there is no template"), "{gone:?}");
    assert!(templates(&home).is_empty());
}

#[test]
fn who_pushes_to_a_registry_with_tokens_asks_for_one_for_that() {
    let test = "who_pushes_to_a_registry_with_tokens_asks_for_one_for_that";
    let Some(world) = World::new(test, None) else {
        return;
    };
    let gate = Gate::before(&world.registry);
    let web = format!("{}/team/web:1", gate.host);
    let home = &world.machine.home;
    let log_in = |home: &Home, account: &str| {
        let config = json!({"auths": {&gate.host: {"auth": account}}});
        fs::create_dir_all(home.path(".docker")).expect("folder");
        fs::write(home.path(".docker/config.json"), config.to_string()).expect("file");
    };
    let denied = || {
        let done = world.try_push("t1", &web);
        let said = refused(&done);
        assert!(said.contains("does not let you write"), "{said}");
        assert!(said.contains("docker login"), "{said}");
        assert_eq!(world.registry.requests("PATCH"), 0);
    };
    denied();
    log_in(home, GUEST);
    denied();
    assert_eq!(gate.given_for("team/web", "pull,push"), 0);
    log_in(home, USER);
    let pushed = world.push("t1", &web);
    assert!(pushed["sent"].as_u64() >= Some(5), "{pushed}");
    assert!(gate.given_for("team/web", "pull,push") > 0);
    // What it may not take from another repository, it sends.
    let copied = world.push("t1", &format!("{}/team/copy", gate.host));
    assert_eq!(copied["digest"], pushed["digest"]);
    assert_eq!(copied["there"], 0, "{copied}");

    let other = Home::new();
    let said = pull(&other, &web, "mine");
    assert!(refused(&said).contains("docker login"), "{said:?}");
    log_in(&other, GUEST);
    assert_eq!(
        parsed(&pull(&other, &web, "mine"))["digest"],
        pushed["digest"]
    );
    assert_eq!(other.run(&["verify"]).stdout(), "mine is whole\n");
}

#[test]
fn what_is_damaged_does_not_come_in() {
    let test = "what_is_damaged_does_not_come_in";
    let Some(world) = World::new(test, None) else {
        return;
    };
    let web = world.at("web");
    let manifest = world.manifest(&world.push("t1", &web));
    world.machine.done(&["rm", "-f", NAME]);
    let home = Home::new();
    let said = || {
        let said = refused(&pull(&home, &web, "x")).to_owned();
        assert!(home.run(&["template", "ls", "--json"]).stdout() == "[]\n");
        assert!(templates(&home).is_empty(), "{said}");
        said
    };
    let path = world.registry.blob(&blob_of(&manifest, ".mem"));
    let whole = fs::read(&path).expect("blob");
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 4;
    fs::write(&path, &flipped).expect("blob");
    assert!(said().contains("damaged or forged"), "{}", said());
    fs::write(&path, &whole[..whole.len() / 2]).expect("blob");
    assert!(said().contains("damaged or forged"), "{}", said());
    fs::write(&path, &whole).expect("blob");

    // A manifest that is whole in itself, by whoever means harm: other content under a file's name.
    let mut forged = manifest.clone();
    let of = |suffix: &str| {
        let layers = manifest["layers"].as_array().expect("layers");
        let digest = format!("sha256:{}", blob_of(&manifest, suffix));
        let is_meant = |layer: &Value| layer["digest"] == digest.as_str();
        layers.iter().position(is_meant).expect(suffix)
    };
    let (index, state) = (of("memory.index"), of("state.json"));
    for key in ["digest", "size"] {
        forged["layers"][index][key] = manifest["layers"][state][key].clone();
    }
    let store = |manifest: &Value| {
        let manifest = manifest.to_string();
        let manifest = manifest.as_bytes();
        world.registry.store_manifest(manifest, "web", "latest");
    };
    store(&forged);
    assert!(
        said().contains("another size than its manifest says"),
        "{}",
        said()
    );
    forged["layers"]
        .as_array_mut()
        .expect("layers")
        .remove(index);
    store(&forged);
    assert!(said().contains("memory.index is not in it"), "{}", said());
    forged["layers"][0]["size"] = json!(1_u64 << 40);
    store(&forged);
    assert!(said().contains("larger than it could be"), "{}", said());
    store(&manifest);
    assert_eq!(parsed(&pull(&home, &web, "x"))["name"], "x");
}

/// Templates are removed over and over while others are pulled: none is disturbed, and in the end nothing
/// is left.
fn swept_while_others_pull(home: &Home, reference: &str) {
    let is_pulled_and_removed = |name: &str| {
        parsed(&pull(home, reference, name));
        let removed = home.run(&["template", "rm", name]);
        assert_eq!(removed.code, Some(0), "{removed:?}");
    };
    thread::scope(|scope| {
        for name in ["one", "two"] {
            scope.spawn(move || (0..5).for_each(|_| is_pulled_and_removed(name)));
        }
    });
    // Who removed while the other pulled left all as it was; now nobody does.
    is_pulled_and_removed("last");
    for folder in ["blobs", "contents"] {
        let left = fs::read_dir(home.path("cache/clade/oci").join(folder)).expect("folder");
        assert_eq!(left.count(), 0, "{folder}");
    }
}

#[test]
fn what_breaks_off_goes_on_where_it_was() {
    let test = "what_breaks_off_goes_on_where_it_was";
    let Some(world) = World::new(test, None) else {
        return;
    };
    world.machine.done(&["rm", "-f", NAME]);
    let line = Line::to(&world.registry);
    let web = format!("{}/web", line.host);
    // The largest file is the first: by then it has arrived, and the next is on its way.
    let whole = world.push("t1", &world.at("elsewhere"));
    let whole = whole["sent_bytes"].as_u64().expect("bytes");
    fs::remove_dir_all(world.machine.home.path("own-cache")).expect("folder");
    fs::remove_dir_all(world.machine.home.path("registry/docker")).expect("folder");
    line.cut_after(whole * 3 / 4);
    let cut = world.try_push("t1", &web);
    assert!(refused(&cut).contains("check the network"), "{cut:?}");
    assert!(cut.stderr.contains(&web), "{cut:?}");
    line.mend();
    let rest = world.push("t1", &web);
    assert!(
        rest["sent_bytes"].as_u64().expect("bytes") < whole / 2,
        "{rest}"
    );
    assert!(rest["there"].as_u64().expect("count") > 0, "{rest}");

    let home = Home::new();
    line.cut_after(whole * 3 / 4);
    let cut = pull(&home, &web, "x");
    assert!(
        refused(&cut).contains("cannot fetch the template"),
        "{cut:?}"
    );
    assert!(templates(&home).is_empty());
    line.mend();
    let before = line.passed();
    parsed(&pull(&home, &web, "x"));
    assert!(line.passed() - before < whole / 2, "{}", line.passed());
    home.run(&["template", "rm", "x"]);

    killed_at_any_time(&home, &world.at("web"));
}

/// Who is killed leaves a template or none, and what it fetched only until something is removed, unless
/// somebody else pulls then.
fn killed_at_any_time(home: &Home, reference: &str) {
    let start = Instant::now();
    parsed(&pull(home, reference, "x"));
    let usual = start.elapsed();
    home.run(&["template", "rm", "x"]);
    let mut unfinished = 0;
    for n in 1..10 {
        let arguments = ["template", "pull", reference, "--name", "x"];
        let mut clade = home.clade(&arguments).spawn().expect("clade");
        thread::sleep(usual * n / 10);
        clade.kill().expect("kill");
        clade.wait().expect("wait");
        let listed = home.run(&["template", "ls", "--json"]);
        let listed: Value = serde_json::from_str(listed.stdout()).expect("JSON");
        match listed.as_array().expect("list").len() {
            0 => {
                unfinished += 1;
                assert!(templates(home).is_empty(), "{:?}", templates(home));
            }
            _ => {
                assert_eq!(home.run(&["verify"]).stdout(), "x is whole\n");
                home.run(&["template", "rm", "x"]);
            }
        }
    }
    assert!(unfinished > 2, "{unfinished}");
    swept_while_others_pull(home, reference);
    parsed(&pull(home, reference, "x"));
    let run = home.run(&["run", "x", "--", "cat", "/tmp/state"]);
    assert_eq!(
        run.stdout(),
        "before
",
        "{run:?}"
    );
}
