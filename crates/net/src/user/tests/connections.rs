//! TCP, both ways, against the host's.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};

use super::guest::{Guest, config};
use crate::user::UserNetwork;
use crate::user::addresses::{GATEWAY, GUEST};

fn socket(buffer: usize) -> Socket<'static> {
    let room = || SocketBuffer::new(vec![0; buffer]);
    Socket::new(room(), room())
}

fn connect(guest: &mut Guest, to: (Ipv4Addr, u16), from: u16) -> SocketHandle {
    let handle = guest.add(socket(100_000));
    let Guest {
        interface, sockets, ..
    } = guest;
    let socket = sockets.get_mut::<Socket<'_>>(handle);
    socket
        .connect(interface.context(), to, from)
        .expect("connect");
    handle
}

fn established(guest: &mut Guest, handle: SocketHandle) {
    guest.until("it is open", |guest| {
        let socket = guest.get::<Socket<'_>>(handle);
        (socket.state() == State::Established).then_some(())
    });
}

fn byte(at: usize) -> u8 {
    (at.wrapping_mul(2_654_435_761) >> 13) as u8
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(byte).collect()
}

/// Sends `data` and closes; returns all that comes back.
fn exchange(guest: &mut Guest, handle: SocketHandle, data: &[u8]) -> Vec<u8> {
    let (mut sent, mut received, mut closed) = (0, Vec::new(), false);
    guest.until("all is exchanged", |guest| {
        let socket = guest.get::<Socket<'_>>(handle);
        if sent < data.len() && socket.can_send() {
            sent += socket.send_slice(&data[sent..]).expect("open");
        } else if sent == data.len() && socket.may_send() && !closed {
            closed = true;
            socket.close();
        }
        while socket.can_recv() {
            let taken = socket.recv(|bytes| {
                received.extend_from_slice(bytes);
                (bytes.len(), bytes.len())
            });
            assert!(taken.expect("data") > 0);
        }
        let over = matches!(socket.state(), State::TimeWait | State::Closed);
        over.then_some(())
    });
    received
}

#[test]
fn megabytes_go_to_a_server_of_the_host_and_back() {
    let server = TcpListener::bind("127.0.0.1:0").expect("listen");
    let port = server.local_addr().expect("address").port();
    let thread = thread::spawn(move || {
        let (mut stream, _) = server.accept().expect("accept");
        let mut received = Vec::new();
        // Everything first, then the answer: each half is closed by itself.
        stream.read_to_end(&mut received).expect("read");
        received.reverse();
        stream.write_all(&received).expect("write");
    });
    let mut guest = Guest::plain();
    let handle = connect(&mut guest, (GATEWAY, port), 40000);
    let data = pattern(5_000_000);
    let mut back = exchange(&mut guest, handle, &data);
    back.reverse();
    assert!(back == data, "{} bytes of {}", back.len(), data.len());
    thread.join().expect("server");
    guest.until("the connection is forgotten", |guest| {
        (guest.network.tcp.count() == 0).then_some(())
    });
}

#[test]
fn a_server_that_stops_reading_holds_the_guest_back() {
    let server = TcpListener::bind("127.0.0.1:0").expect("listen");
    let port = server.local_addr().expect("address").port();
    let mut guest = Guest::plain();
    let handle = connect(&mut guest, (GATEWAY, port), 40000);
    established(&mut guest, handle);
    let (mut stream, _) = server.accept().expect("accept");
    let (mut sent, mut stuck) = (0, 0);
    guest.until("nothing goes any more", |guest| {
        let socket = guest.get::<Socket<'_>>(handle);
        let before = sent;
        if socket.can_send() {
            sent += socket.send_slice(&[7; 65536]).expect("open");
        }
        stuck = if sent == before { stuck + 1 } else { 0 };
        (stuck > 50 && sent > 0).then_some(())
    });
    // The host's buffers, ours and the guest's; no more.
    assert!(sent < 64 << 20, "{sent}");
    let reader = thread::spawn(move || {
        let mut received = Vec::new();
        stream.read_to_end(&mut received).expect("read");
        received.len()
    });
    guest.get::<Socket<'_>>(handle).close();
    guest.until("the rest has gone", |guest| {
        let socket = guest.get::<Socket<'_>>(handle);
        (socket.send_queue() == 0 && reader.is_finished()).then_some(())
    });
    assert_eq!(reader.join().expect("reader"), sent);
}

#[test]
fn a_closed_port_refuses() {
    let port = {
        let server = TcpListener::bind("127.0.0.1:0").expect("listen");
        server.local_addr().expect("address").port()
    };
    let mut guest = Guest::plain();
    let handle = connect(&mut guest, (GATEWAY, port), 40000);
    guest.until("it is refused", |guest| {
        let socket = guest.get::<Socket<'_>>(handle);
        (socket.state() == State::Closed).then_some(())
    });
    assert_eq!(guest.network.tcp.count(), 0);
}

#[test]
fn a_connection_that_the_server_breaks_off_is_broken_for_the_guest() {
    let server = TcpListener::bind("127.0.0.1:0").expect("listen");
    let port = server.local_addr().expect("address").port();
    let mut guest = Guest::plain();
    let handle = connect(&mut guest, (GATEWAY, port), 40000);
    established(&mut guest, handle);
    let (stream, _) = server.accept().expect("accept");
    rustix::net::sockopt::set_socket_linger(&stream, Some(std::time::Duration::ZERO))
        .expect("linger");
    drop(stream);
    guest.until("it is broken", |guest| {
        let socket = guest.get::<Socket<'_>>(handle);
        (socket.state() == State::Closed).then_some(())
    });
}

#[test]
fn a_connection_that_the_guest_breaks_off_is_broken_for_the_server() {
    let server = TcpListener::bind("127.0.0.1:0").expect("listen");
    let port = server.local_addr().expect("address").port();
    let mut guest = Guest::plain();
    let handle = connect(&mut guest, (GATEWAY, port), 40000);
    established(&mut guest, handle);
    let (mut stream, _) = server.accept().expect("accept");
    guest.get::<Socket<'_>>(handle).abort();
    guest.until("it is forgotten", |guest| {
        (guest.network.tcp.count() == 0).then_some(())
    });
    let error = stream.read(&mut [0]).expect_err("reset");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn a_forwarded_port_reaches_the_guest() {
    let mut config = config();
    config.forwards = vec!["0:80".parse().expect("forward")];
    let network = UserNetwork::open(config).expect("network");
    let forward = network.forwards().next().expect("forward");
    assert_ne!(forward.host, 0);
    let mut guest = Guest::new(network);
    let handle = guest.add(socket(50_000));
    let listener = guest.get::<Socket<'_>>(handle);
    listener.listen((GUEST, 80)).expect("listen");
    let data = pattern(1_000_000);
    let expected = data.clone();
    let client = thread::spawn(move || {
        let address = SocketAddr::new(forward.address, forward.host);
        let mut stream = TcpStream::connect(address).expect("connect");
        let mut received = Vec::new();
        stream.write_all(b"give").expect("write");
        stream.shutdown(Shutdown::Write).expect("shutdown");
        stream.read_to_end(&mut received).expect("read");
        received
    });
    let question = guest.until("the client asks", |guest| {
        let socket = guest.get::<Socket<'_>>(handle);
        (socket.state() == State::CloseWait).then(|| {
            let mut buffer = [0; 16];
            let length = socket.recv_slice(&mut buffer).expect("question");
            assert_eq!(socket.remote_endpoint().expect("peer").addr, GATEWAY.into());
            buffer[..length].to_vec()
        })
    });
    assert_eq!(question, b"give");
    exchange(&mut guest, handle, &data);
    assert!(client.join().expect("client") == expected);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("listen");
    let port = taken.local_addr().expect("address").port();
    let mut config = config();
    config.forwards = vec![format!("{port}:80").parse().expect("forward")];
    let error = UserNetwork::open(config)
        .err()
        .expect("refused")
        .to_string();
    assert!(
        error.contains(&format!("tcp port {port} of 127.0.0.1")),
        "{error}"
    );
    assert!(error.contains("in use"), "{error}");
}

#[test]
fn hundreds_of_connections_at_once() {
    let server = TcpListener::bind("127.0.0.1:0").expect("listen");
    let port = server.local_addr().expect("address").port();
    const COUNT: usize = 300;
    let thread = thread::spawn(move || {
        let streams: Vec<_> = (0..COUNT)
            .map(|_| server.accept().expect("accept").0)
            .collect();
        for mut stream in streams {
            let mut text = [0; 2];
            stream.read_exact(&mut text).expect("read");
            stream.write_all(&text).expect("write");
        }
    });
    let mut guest = Guest::plain();
    let handles: Vec<_> = (0..COUNT)
        .map(|index| connect(&mut guest, (GATEWAY, port), 30000 + index as u16))
        .collect();
    let mut sent = vec![false; COUNT];
    guest.until("all are answered", |guest| {
        let mut answered = 0;
        for (index, &handle) in handles.iter().enumerate() {
            let socket = guest.get::<Socket<'_>>(handle);
            if socket.can_send() && !sent[index] {
                sent[index] = true;
                socket
                    .send_slice(&(index as u16).to_le_bytes())
                    .expect("open");
            }
            if socket.recv_queue() == 2 {
                let own = socket.peek(2).expect("answer") == (index as u16).to_le_bytes();
                assert!(own, "connections are mixed up");
                answered += 1;
            }
        }
        (answered == COUNT).then_some(())
    });
    assert_eq!(guest.network.tcp.count(), COUNT);
    guest.network.reset();
    assert_eq!(guest.network.tcp.count(), 0);
    thread.join().expect("server");
}
