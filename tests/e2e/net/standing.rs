//! Connections that outlive something: the rules' coming, or their own socket.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use super::pod::{AGENT, ENVOY, OUTSIDE4, OUTSIDE6, POD4, Pod};

fn a_connection_that_stood_before_ends(pod: &Pod, arguments: &str) {
    let second = Some(Duration::from_secs(1));
    let mut standing: Vec<TcpStream> = Vec::new();
    for (ip, port) in [(OUTSIDE4, 8443), (OUTSIDE4, 443), (OUTSIDE6, 8443), (OUTSIDE6, 443)] {
        let stream = pod.inside.act(AGENT, || TcpStream::connect((ip, port)).unwrap());
        stream.set_read_timeout(second).unwrap();
        let mut greeting = [0; 7];
        (&stream).read_exact(&mut greeting).unwrap();
        standing.push(stream);
    }
    let listener = pod.inside.act(AGENT, || TcpListener::bind((POD4, 8081)).unwrap());
    let mut caller = pod.outside.act(0, || TcpStream::connect((POD4, 8081)).unwrap());
    standing.push(listener.accept().unwrap().0);
    let socket = pod.inside.act(AGENT, || UdpSocket::bind("0.0.0.0:0").unwrap());
    socket.connect((OUTSIDE4, 123)).unwrap();
    socket.set_read_timeout(second).unwrap();
    socket.send(b"before").unwrap();
    assert_eq!(socket.recv(&mut [0; 16]).unwrap(), 7);
    for stream in &mut standing[..4] {
        stream.write_all(b"before").unwrap();
        let mut echo = [0; 6];
        stream.read_exact(&mut echo).unwrap();
        assert_eq!(&echo, b"before");
    }

    pod.apply(arguments);
    // What comes in on one is no beginning, so its port being open does not carry it on.
    caller.write_all(b"after").unwrap();
    standing[4].set_read_timeout(second).unwrap();
    assert!(standing[4].read(&mut [0; 6]).is_err());
    let arrived = pod.arrived();
    for stream in &mut standing {
        stream.set_read_timeout(second).unwrap();
        let _ = stream.write_all(b"after");
        let mut echo = [0; 6];
        assert!(stream.read(&mut echo).map_or(true, |length| length == 0), "{stream:?} goes on");
    }
    assert!(socket.send(b"after").is_err());
    // What is left of them has no socket.
    drop(standing);
    assert_eq!(pod.arrived(), arrived, "something was carried on");
    caller.set_read_timeout(second).unwrap();
    assert!(caller.read(&mut [0; 6]).is_err());
}

#[test]
fn a_connection_that_stood_before_ends_by_nft() {
    a_connection_that_stood_before_ends(&Pod::bare(), "--inbound 8081");
}

#[test]
fn a_connection_that_stood_before_ends_by_iptables() {
    a_connection_that_stood_before_ends(&Pod::bare().with_iptables("nft"), "--inbound 8081");
}

/// Envoy may close a socket whose last bytes the kernel has still to send: those belong to nobody.
fn what_envoy_leaves_to_the_kernel_arrives(pod: &Pod) {
    pod.apply("");
    for ip in [OUTSIDE4, OUTSIDE6] {
        let listener = pod.outside.act(0, || TcpListener::bind((ip, 7000)).unwrap());
        let mut stream = pod.inside.act(ENVOY, || TcpStream::connect(SocketAddr::new(ip, 7000)).unwrap());
        let (mut other, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut sent = 0;
        // Until neither end's buffers take more.
        while let Ok(length) = stream.write(&[7; 65536]) {
            sent += length;
        }
        drop(stream);
        other.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut received = Vec::new();
        other.read_to_end(&mut received).unwrap();
        assert_eq!(received.len(), sent);
    }
}

#[test]
fn what_envoy_leaves_to_the_kernel_arrives_by_nft() {
    what_envoy_leaves_to_the_kernel_arrives(&Pod::bare());
}

#[test]
fn what_envoy_leaves_to_the_kernel_arrives_by_iptables() {
    what_envoy_leaves_to_the_kernel_arrives(&Pod::bare().with_iptables("legacy"));
}
