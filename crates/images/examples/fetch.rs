//! Makes an image ready and says where it is: `cargo run --release -p clade-images --example fetch -- [IMAGE] [MIRROR]`.

use clade_images::{Progress, Request};

struct Stderr;

impl Progress for Stderr {
    fn begin(&self, label: &str, total: u64) {
        eprintln!("{label} ({total} bytes)");
    }
    fn advance(&self, _bytes: u64) {}
    fn finish(&self) {}
    fn message(&self, text: &str) {
        eprintln!("{text}");
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "mini".to_owned());
    let request = Request {
        name,
        mirror: arguments.next(),
        ..Request::default()
    };
    match clade_images::ensure(&request, &Stderr) {
        Ok(image) => println!("{image:#?}"),
        Err(error) => {
            eprintln!("error: {error}");
            std::process::exit(125);
        }
    }
}
