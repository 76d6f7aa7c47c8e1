//! A small HTTP server on the loopback interface that can be told to misbehave.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// Serves files from memory until dropped.
pub(crate) struct Server {
    address: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    files: HashMap<String, Vec<u8>>,
    /// Bytes after which the next answer with this path, or every answer, breaks off.
    cuts: HashMap<String, (usize, bool)>,
    ignores_ranges: bool,
    /// What is answered in place of a path's content.
    statuses: HashMap<String, String>,
    /// Path and value of the Range header of each request, in order.
    requests: Vec<(String, Option<String>)>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/debian", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::downgrade(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Some(state) = shared.upgrade() else {
                    return;
                };
                thread::spawn(move || answer(stream.unwrap(), &state));
            }
        });
        Self { address, state }
    }

    /// The mirror's address.
    pub(crate) fn url(&self) -> String {
        self.address.clone()
    }

    pub(crate) fn put(&self, path: &str, content: impl Into<Vec<u8>>) {
        self.state
            .lock()
            .unwrap()
            .files
            .insert(format!("/debian/{path}"), content.into());
    }

    pub(crate) fn content(&self, path: &str) -> Vec<u8> {
        self.state.lock().unwrap().files[&format!("/debian/{path}")].clone()
    }

    pub(crate) fn remove(&self, path: &str) {
        self.state
            .lock()
            .unwrap()
            .files
            .remove(&format!("/debian/{path}"));
    }

    /// Breaks the connection off in the next answer with this path.
    pub(crate) fn cut(&self, path: &str, after: usize) {
        let path = format!("/debian/{path}");
        self.state.lock().unwrap().cuts.insert(path, (after, false));
    }

    /// Breaks the connection off in every answer with this path.
    pub(crate) fn cut_always(&self, path: &str, after: usize) {
        let path = format!("/debian/{path}");
        self.state.lock().unwrap().cuts.insert(path, (after, true));
    }

    /// From now on answers requests for a part with the whole.
    pub(crate) fn ignore_ranges(&self) {
        self.state.lock().unwrap().ignores_ranges = true;
    }

    /// The Range headers of the requests so far for this path.
    pub(crate) fn requests(&self, path: &str) -> Vec<Option<String>> {
        let path = format!("/debian/{path}");
        let state = self.state.lock().unwrap();
        state
            .requests
            .iter()
            .filter(|(of, _)| *of == path)
            .map(|(_, range)| range.clone())
            .collect()
    }

    /// Host and port.
    pub(crate) fn host(&self) -> String {
        let address = self.address.trim_start_matches("http://");
        address.trim_end_matches("/debian").to_owned()
    }

    /// [`Server::put`], by the whole path.
    pub(crate) fn put_at(&self, path: &str, content: impl Into<Vec<u8>>) {
        let mut state = self.state.lock().unwrap();
        state.files.insert(path.to_owned(), content.into());
    }

    /// [`Server::cut`] and [`Server::cut_always`], by the whole path.
    pub(crate) fn cut_at(&self, path: &str, after: usize, always: bool) {
        let mut state = self.state.lock().unwrap();
        state.cuts.insert(path.to_owned(), (after, always));
    }

    /// [`Server::requests`], by the whole path.
    pub(crate) fn requests_at(&self, path: &str) -> Vec<Option<String>> {
        let state = self.state.lock().unwrap();
        let requests = state.requests.iter();
        let of_path = requests.filter(|(of, _)| of == path);
        of_path.map(|(_, range)| range.clone()).collect()
    }

    /// Answers requests for this path with a status (`403 Forbidden`) and nothing else.
    pub(crate) fn refuse(&self, path: &str, status: &str) {
        let mut state = self.state.lock().unwrap();
        state.statuses.insert(path.to_owned(), status.to_owned());
    }

    /// How many requests there were.
    pub(crate) fn request_count(&self) -> usize {
        self.state.lock().unwrap().requests.len()
    }
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap())
        .lines()
        .map_while(Result::ok);
    let Some(request) = lines.next() else { return };
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let range = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            line.split_once(": ")
                .map(|(k, v)| (k.to_ascii_lowercase(), v.to_owned()))
        })
        .find_map(|(key, value)| (key == "range").then_some(value));
    let (content, cut, whole, refusal) = {
        let mut state = state.lock().unwrap();
        state.requests.push((path.clone(), range.clone()));
        let cut = state.cuts.get(&path).copied();
        if cut.is_some_and(|(_, always)| !always) {
            state.cuts.remove(&path);
        }
        (
            state.files.get(&path).cloned(),
            cut.map(|(after, _)| after),
            state.ignores_ranges,
            state.statuses.get(&path).cloned(),
        )
    };
    if let Some(status) = refusal {
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let _ = stream.write_all(head.as_bytes());
        return;
    }
    let Some(content) = content else {
        let _ = stream
            .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return;
    };
    let from = range.filter(|_| !whole).and_then(|range| {
        range
            .strip_prefix("bytes=")?
            .strip_suffix('-')?
            .parse::<usize>()
            .ok()
    });
    let total = content.len();
    let (status, extra, body) = match from {
        Some(from) if from >= total => ("416 Range Not Satisfiable", String::new(), &content[..0]),
        Some(from) => {
            let extra = format!("Content-Range: bytes {from}-{}/{total}\r\n", total - 1);
            ("206 Partial Content", extra, &content[from..])
        }
        None => ("200 OK", String::new(), &content[..]),
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{extra}Connection: close\r\n\r\n"
    );
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(&body[..cut.unwrap_or(length).min(length)]);
}
