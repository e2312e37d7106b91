//! A pod's network without a cluster: one namespace that plays the pod, one that plays all the rest.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, ipproto, recv, send, socket_with,
};
use rustix::process::Uid;
use rustix::thread::set_thread_res_uid;
use tempfile::TempDir;

use crate::support::{GLANCE, PATIENCE};

pub const AGENT: u32 = 10_001;
pub const ENVOY: u32 = 101;
pub const ATTACHE: u32 = 1338;

/// The pod's own address, and the outside's: nobody has them but in these namespaces.
pub const POD4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
pub const OUTSIDE4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
pub const OUTSIDE6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
pub const METADATA: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));

/// A network namespace, which ends with this value and the processes in it.
pub struct Namespace(File);

impl Namespace {
    pub fn new() -> Namespace {
        let made = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap_or_else(|error| {
                panic!("these tests make network namespaces, and may not ({error}): run them as root")
            });
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let namespace = Namespace(made.join().unwrap());
        namespace.ip("link set lo up");
        namespace
    }

    /// Does something in the namespace, as a user. Sockets that it opens, and programs that it starts, stay there.
    pub fn act<T: Send>(&self, uid: u32, act: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let acting = scope.spawn(|| {
                setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
                if uid != 0 {
                    // This thread's alone: the process stays who it is.
                    let uid = Uid::from_raw(uid);
                    set_thread_res_uid(uid, uid, uid).unwrap();
                }
                act()
            });
            acting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs a command line in the namespace to its end.
    pub fn run(&self, command: &mut Command) -> Output {
        self.act(0, || command.output()).unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"))
    }

    pub fn ip(&self, arguments: &str) {
        let output = self.run(Command::new("ip").args(arguments.split(' ')));
        assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }

    pub fn nft(&self, script: &str) -> String {
        let output = self.run(Command::new("nft").args(["--stateless", script]));
        assert!(output.status.success(), "nft {script}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Greets everyone who connects to these ports, and repeats what they say, as a user.
    pub fn serve(&self, uid: u32, name: &'static str, ip: IpAddr, tcp: &[u16], udp: &[u16]) {
        self.act(uid, || {
            for port in tcp {
                let listener = TcpListener::bind((ip, *port)).unwrap_or_else(|e| panic!("{name} {ip}:{port}: {e}"));
                std::thread::spawn(move || listener.incoming().for_each(|stream| greet(stream, name)));
            }
            for port in udp {
                let socket = UdpSocket::bind((ip, *port)).unwrap();
                std::thread::spawn(move || {
                    let mut buffer = [0; 512];
                    while let Ok((_, from)) = socket.recv_from(&mut buffer) {
                        let _ = socket.send_to(name.as_bytes(), from);
                    }
                });
            }
        });
    }
}

fn greet(stream: std::io::Result<TcpStream>, name: &'static str) {
    std::thread::spawn(move || {
        use std::io::Write;
        let Ok(mut stream) = stream else { return };
        let _ = stream.write_all(name.as_bytes());
        let mut buffer = [0; 512];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            let _ = stream.write_all(&buffer[..length]);
        }
    });
}

/// A pod with its network, in which Envoy and attaché listen, and an outside that answers at once.
pub struct Pod {
    pub inside: Namespace,
    pub outside: Namespace,
    path: Option<TempDir>,
}

impl Pod {
    /// One in which everybody listens.
    pub fn new() -> Pod {
        let pod = Pod::bare();
        for ip in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            pod.inside.serve(ENVOY, "envoy", ip, &[10443], &[]);
            pod.inside.serve(ENVOY, "proxy", ip, &[10080], &[]);
            pod.inside.serve(ATTACHE, "stub", ip, &[15053], &[15053]);
            pod.inside.serve(AGENT, "own", ip, &[8080], &[9000]);
        }
        let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        pod.inside.serve(ATTACHE, "metrics", any, &[9464], &[]);
        pod
    }

    /// One in which nobody listens.
    pub fn bare() -> Pod {
        let (inside, outside) = (Namespace::new(), Namespace::new());
        inside.ip(&format!("link add eth0 type veth peer name eth0 netns {}", outside.path()));
        for (namespace, addresses) in [
            (&inside, &["10.0.0.2/24 dev eth0", "fd00::2/64 dev eth0 nodad"][..]),
            (
                &outside,
                &[
                    "10.0.0.1/24 dev eth0",
                    "fd00::1/64 dev eth0 nodad",
                    "192.0.2.1/32 dev lo",
                    "2001:db8::1/128 dev lo nodad",
                    "169.254.169.254/32 dev lo",
                ],
            ),
        ] {
            addresses.iter().for_each(|address| namespace.ip(&format!("address add {address}")));
            namespace.ip("link set eth0 up");
            namespace.act(0, || std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647").unwrap());
        }
        inside.ip("route add default via 10.0.0.1");
        inside.ip("-6 route add default via fd00::1");
        let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        outside.serve(0, "outside", any, &[22, 53, 80, 443, 853, 8443, 10443], &[]);
        // Each from its own address: a datagram's answer must come from where it went.
        [OUTSIDE4, OUTSIDE6].iter().for_each(|ip| outside.serve(0, "outside", *ip, &[], &[53, 123, 443]));
        outside.nft(
            "table inet seen { chain arrivals { type filter hook prerouting priority -300; iifname lo accept; \
             icmpv6 type { 133, 134, 135, 136, 143 } accept; counter; }; }",
        );
        let pod = Pod { inside, outside, path: None };
        for ip in [OUTSIDE4, OUTSIDE6] {
            pod.until("the network is up", || pod.try_as(0, Way::Tcp(ip, 443)) == "outside");
        }
        pod
    }

    /// Uses this iptables, and no nft, from here on: `nft` or `legacy`.
    pub fn with_iptables(self, variant: &str) -> Pod {
        let folder = tempfile::tempdir().unwrap();
        let real = real_iptables(variant);
        for tool in ["iptables-save", "iptables-restore", "ip6tables-save", "ip6tables-restore"] {
            std::os::unix::fs::symlink(&real, folder.path().join(tool)).unwrap();
        }
        Pod { path: Some(folder), ..self }
    }

    /// Finds its tools in this folder only.
    pub fn with_tools(self, folder: TempDir) -> Pod {
        Pod { path: Some(folder), ..self }
    }

    /// `attache net` with these arguments: exit code, stdout, stderr.
    pub fn net(&self, arguments: &str) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_attache"));
        command.arg("net").args(arguments.split_whitespace());
        self.output(&mut command)
    }

    /// Runs a command line in the pod, with the tools it has there.
    pub fn output(&self, command: &mut Command) -> (i32, String, String) {
        if let Some(folder) = &self.path {
            command.env("PATH", folder.path());
        }
        let output = self.inside.run(command);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
    }

    /// Puts rules in place; a failed test if that does not work.
    pub fn apply(&self, arguments: &str) {
        let (exit, stdout, stderr) = self.net(&format!("apply --no-verify {arguments}"));
        assert_eq!(exit, 0, "{stdout}{stderr}");
    }

    /// All rules in the pod, without counts.
    pub fn rules(&self) -> String {
        let mut all = self.inside.nft("list ruleset");
        for tool in ["iptables-legacy-save", "ip6tables-legacy-save"] {
            all.push_str(&String::from_utf8(self.inside.run(&mut Command::new(tool)).stdout).unwrap());
        }
        let counts = regex::Regex::new(r"(?m) \[\d+:\d+\]$|^# .*\n").unwrap();
        counts.replace_all(&all, "").into_owned()
    }

    /// Who answers a user who tries this; in brackets why nobody does.
    pub fn try_as(&self, uid: u32, way: Way) -> String {
        self.inside.act(uid, || way.go().unwrap_or_else(|error| format!("({:?})", error.kind())))
    }

    /// Who answers the outside at the pod's address.
    pub fn try_from_outside(&self, way: Way) -> String {
        self.outside.act(0, || way.go().unwrap_or_else(|error| format!("({:?})", error.kind())))
    }

    /// How many packets have reached the outside, but for those that find neighbours.
    pub fn arrived(&self) -> u64 {
        let output = self.outside.run(Command::new("nft").args(["list", "chain", "inet", "seen", "arrivals"]));
        let text = String::from_utf8(output.stdout).unwrap();
        let count = text.split("packets ").nth(1).and_then(|rest| rest.split(' ').next());
        count.unwrap().parse().unwrap()
    }

    pub fn until(&self, what: &str, mut look: impl FnMut() -> bool) {
        let begun = std::time::Instant::now();
        while !look() {
            assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} until {what}");
            std::thread::sleep(GLANCE);
        }
    }
}

/// The program that is all of one variant's tools.
pub fn real_iptables(variant: &str) -> PathBuf {
    let name = format!("iptables-{variant}");
    let folders = ["/usr/sbin", "/sbin", "/usr/bin"];
    let found = folders.iter().find_map(|folder| std::fs::canonicalize(Path::new(folder).join(&name)).ok());
    found.unwrap_or_else(|| panic!("`{name}` is missing: install iptables"))
}

/// A way out, or in.
#[derive(Debug, Clone, Copy)]
pub enum Way {
    Tcp(IpAddr, u16),
    Udp(IpAddr, u16),
    /// From a socket that is bound to the pod's interface.
    BoundTcp(IpAddr, u16),
    BoundUdp(IpAddr, u16),
    /// An ICMP echo request.
    Ping(IpAddr),
    /// UDP-Lite: a protocol that no rule names.
    UdpLite(IpAddr, u16),
}

impl Way {
    fn go(self) -> std::io::Result<String> {
        let second = Duration::from_secs(1);
        match self {
            Way::Tcp(ip, port) => {
                let mut stream = TcpStream::connect_timeout(&SocketAddr::new(ip, port), 2 * second)?;
                stream.set_read_timeout(Some(second))?;
                let mut greeting = [0; 16];
                let length = stream.read(&mut greeting)?;
                Ok(String::from_utf8_lossy(&greeting[..length]).into_owned())
            }
            Way::Udp(ip, port) => {
                let any: IpAddr =
                    if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
                let socket = UdpSocket::bind((any, 0))?;
                socket.connect((ip, port))?;
                ask(socket.into())
            }
            Way::BoundTcp(ip, port) => in_runtime(async {
                let socket =
                    if ip.is_ipv4() { tokio::net::TcpSocket::new_v4() } else { tokio::net::TcpSocket::new_v6() }?;
                socket.bind_device(Some(b"eth0"))?;
                let connected = tokio::time::timeout(second, socket.connect(SocketAddr::new(ip, port))).await;
                let stream = connected.map_err(|_| ErrorKind::TimedOut)??.into_std()?;
                stream.set_nonblocking(false)?;
                stream.set_read_timeout(Some(second))?;
                let mut greeting = [0; 16];
                let length = (&stream).read(&mut greeting)?;
                Ok(String::from_utf8_lossy(&greeting[..length]).into_owned())
            }),
            Way::BoundUdp(ip, port) => in_runtime(async {
                let any: IpAddr =
                    if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
                let socket = tokio::net::UdpSocket::bind((any, 0)).await?;
                socket.bind_device(Some(b"eth0"))?;
                let socket = socket.into_std()?;
                socket.set_nonblocking(false)?;
                socket.connect((ip, port))?;
                ask(socket.into())
            }),
            Way::Ping(ip) => {
                let (family, protocol, request) = match ip {
                    IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP, [8, 0, 0, 0, 0, 0, 0, 1]),
                    IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6, [128, 0, 0, 0, 0, 0, 0, 1]),
                };
                let socket = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(protocol))?;
                connect(&socket, &SocketAddr::new(ip, 0))?;
                let socket = UdpSocket::from(socket);
                socket.set_read_timeout(Some(second))?;
                send(&socket, &request, SendFlags::empty())?;
                recv(&socket, &mut [0; 64], RecvFlags::empty())?;
                Ok("outside".to_owned())
            }
            Way::UdpLite(ip, port) => {
                let family = if ip.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
                let socket = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(ipproto::UDPLITE))?;
                connect(&socket, &SocketAddr::new(ip, port))?;
                ask(socket)
            }
        }
    }
}

fn ask(socket: std::os::fd::OwnedFd) -> std::io::Result<String> {
    let socket = UdpSocket::from(socket);
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    socket.send(b"who is there?")?;
    let mut answer = [0; 16];
    let length = socket.recv(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

fn in_runtime<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
