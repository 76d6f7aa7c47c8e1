//! A registry that wants tokens, as Docker Hub and ghcr.io do: a gate before one that wants nothing.

use std::collections::BTreeMap;
use std::io::{self, Error, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::registry::Registry;

/// "user:secret", who may write, and "guest:secret", who may only read, as HTTP has them.
pub(crate) const USER: &str = "dXNlcjpzZWNyZXQ=";
pub(crate) const GUEST: &str = "Z3Vlc3Q6c2VjcmV0";

/// The gate. It goes on for as long as the tests do.
pub(crate) struct Gate {
    /// `HOST:PORT` of this end.
    pub(crate) host: String,
    tokens: Tokens,
}

/// What may be done with a repository: `repository:NAME:pull,push`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Scope {
    repository: String,
    actions: Vec<String>,
}

/// What each token is good for.
#[derive(Clone, Default)]
struct Tokens(Arc<Mutex<BTreeMap<String, Scope>>>);

impl Gate {
    pub(crate) fn before(registry: &Registry) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("port");
        let host = listener.local_addr().expect("address").to_string();
        let tokens = Tokens::default();
        let keeper = Keeper {
            host: host.clone(),
            registry: registry.host.clone(),
            tokens: tokens.clone(),
        };
        let keeper = Arc::new(keeper);
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let keeper = Arc::clone(&keeper);
                // Who goes away in the middle of a request gets no answer.
                thread::spawn(move || keeper.serve(near).ok());
            }
        });
        Self { host, tokens }
    }

    /// How many tokens it gave out for these actions, as `pull,push`.
    pub(crate) fn given_for(&self, repository: &str, actions: &str) -> usize {
        let tokens = self.tokens.lock();
        let is_meant =
            |one: &&Scope| one.repository == repository && one.actions.join(",") == actions;
        tokens.values().filter(is_meant).count()
    }
}

impl Tokens {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Scope>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes one, of which nothing can be read.
    fn give(&self, scope: Scope) -> String {
        let mut tokens = self.lock();
        let token = format!("opaque-{}", tokens.len());
        tokens.insert(token.clone(), scope);
        token
    }

    fn scope_of(&self, authorization: &str) -> Option<Scope> {
        let token = authorization.strip_prefix("Bearer ")?;
        self.lock().get(token).cloned()
    }
}

/// Who answers requests, one for each connection.
struct Keeper {
    host: String,
    registry: String,
    tokens: Tokens,
}

impl Keeper {
    fn serve(&self, mut near: TcpStream) -> io::Result<()> {
        let (mut head, rest) = Head::read(&mut near)?;
        let authorization = head.take("authorization").unwrap_or_default();
        if let Some(query) = head.target.strip_prefix("/token?") {
            return near.write_all(self.token(query, &authorization).as_bytes());
        }
        let scope = self.tokens.scope_of(&authorization);
        if !scope.is_some_and(|scope| head.is_within(&scope)) {
            let realm = format!("http://{}/token", self.host);
            let challenge =
                format!("WWW-Authenticate: Bearer realm=\"{realm}\",service=\"gate\"\r\n");
            return near.write_all(answer("401 Unauthorized", &challenge, "{}").as_bytes());
        }
        head.take("connection");
        let mut far = TcpStream::connect(&self.registry)?;
        far.write_all(head.text().as_bytes())?;
        far.write_all(&rest)?;
        let (mut from, mut to) = (near.try_clone()?, far.try_clone()?);
        thread::spawn(move || io::copy(&mut from, &mut to));
        // It closes behind its answer.
        io::copy(&mut far, &mut near)?;
        near.shutdown(Shutdown::Both)
    }

    /// As others do, it gives who may not do all that was asked for a token for the rest.
    fn token(&self, query: &str, authorization: &str) -> String {
        let may: &[&str] = match authorization.strip_prefix("Basic ") {
            Some(USER) => &["pull", "push"],
            Some(GUEST) => &["pull"],
            _ => return answer("401 Unauthorized", "", "{}"),
        };
        let Some(mut scope) = Scope::in_query(query) else {
            return answer("400 Bad Request", "", "{}");
        };
        scope.actions.retain(|action| may.contains(&&**action));
        let token = self.tokens.give(scope);
        answer("200 OK", "", &format!("{{\"token\":\"{token}\"}}"))
    }
}

impl Scope {
    fn in_query(query: &str) -> Option<Self> {
        let mut parameters = query.split('&');
        let scope = parameters.find_map(|parameter| parameter.strip_prefix("scope="))?;
        let plain = [("%3A", ":"), ("%2F", "/"), ("%2C", ",")];
        let scope = (plain.iter()).fold(scope.to_owned(), |text, (code, c)| text.replace(code, c));
        let (repository, actions) = scope.strip_prefix("repository:")?.rsplit_once(':')?;
        Some(Self {
            repository: repository.to_owned(),
            actions: actions.split(',').map(str::to_owned).collect(),
        })
    }
}

/// A request, without its body.
struct Head {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
}

impl Head {
    /// Reads it, and perhaps some of the body.
    fn read(stream: &mut TcpStream) -> io::Result<(Self, Vec<u8>)> {
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            match stream.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => bytes.extend(&buffer[..count]),
            }
        };
        let rest = bytes.split_off(end + 4);
        let text = String::from_utf8(bytes).map_err(Error::other)?;
        let mut lines = text.lines();
        let mut words = lines
            .next()
            .unwrap_or_default()
            .split(' ')
            .map(str::to_owned);
        let headers = lines.filter_map(|line| line.split_once(": "));
        let head = Self {
            method: words.next().unwrap_or_default(),
            target: words.next().unwrap_or_default(),
            headers: headers
                .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
                .collect(),
        };
        Ok((head, rest))
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.headers.iter().position(|(one, _)| one == name)?;
        Some(self.headers.swap_remove(at).1)
    }

    /// Whether a token of this scope is enough.
    fn is_within(&self, scope: &Scope) -> bool {
        let action = match &*self.method {
            "GET" | "HEAD" => "pull",
            _ => "push",
        };
        let path = self.target.strip_prefix("/v2/").unwrap_or_default();
        let mut ends = ["/blobs/", "/manifests/"].iter();
        let repository = ends.find_map(|end| Some(path.split_once(end)?.0));
        // A blob of another repository, which is asked for by the same token.
        let is_mount = self.target.contains("from=");
        let is_right = repository.is_some_and(|repository| repository == scope.repository);
        is_right && !is_mount && scope.actions.iter().any(|one| one == action)
    }

    fn text(&self) -> String {
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| format!("{name}: {value}\r\n"));
        format!(
            "{} {} HTTP/1.1\r\n{}connection: close\r\n\r\n",
            self.method,
            self.target,
            headers.collect::<String>()
        )
    }
}

fn answer(status: &str, header: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\n{header}Content-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}
