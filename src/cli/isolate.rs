//! A network namespace whose only way out is the proxy, for `attache run --isolate`.
//!
//! The command's process enters the namespace itself, opens the proxy's port *inside* it, and hands that socket
//! out over a Unix socket before it becomes the command. Whoever connects to it inside is then accepted outside,
//! and passed on to Envoy. Nothing else leads out: no route, no name server, no other socket. The state directory is
//! not there inside either: whoever could write it could, after ending Envoy, have another started in its place.

use std::ffi::{OsStr, OsString};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, sendto, socket_with,
};
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set, set_no_new_privs};
use tokio::process::{Child, Command};

use super::{Failure, Outcome};

/// Enter a network namespace and become a command (used by `attache run --isolate`).
#[derive(clap::Args)]
pub struct Args {
    /// Where the socket is handed out.
    #[arg(long)]
    relay: PathBuf,
    /// The address that is the proxy's, inside as outside.
    #[arg(long)]
    proxy: SocketAddr,
    /// The command.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// The outer end: accepts what the command connects to inside.
pub struct Isolation {
    relay: PathBuf,
    listener: Option<std::os::unix::net::UnixListener>,
    proxy: SocketAddr,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Isolation {
    /// Opens the Unix socket over which the inner one is handed out.
    pub fn prepare(state_dir: &Path, proxy: &str) -> Result<Self, Failure> {
        let relay = state_dir.join("relay.sock");
        let _ = std::fs::remove_file(&relay);
        let listener = std::os::unix::net::UnixListener::bind(&relay)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .map_err(|error| Failure::runtime(format!("cannot listen on `{}`: {error}", relay.display())))?;
        let proxy = proxy.trim_start_matches("http://").parse().map_err(Failure::runtime)?;
        Ok(Self { relay, listener: Some(listener), proxy, task: None })
    }

    /// The command that enters the namespace and becomes `program`.
    pub fn command(&self, program: &OsStr) -> Result<Command, Failure> {
        let mut command = Command::new(std::env::current_exe().map_err(Failure::runtime)?);
        command.arg("isolate").arg("--relay").arg(&self.relay).arg("--proxy").arg(self.proxy.to_string());
        command.arg("--").arg(program);
        Ok(command)
    }

    /// Takes the inner socket and passes its connections on to the proxy.
    pub async fn connect(&mut self, child: &mut Child) -> Result<(), Failure> {
        let listener = self.listener.take().ok_or_else(|| Failure::runtime("already connected"))?;
        let listener = tokio::net::UnixListener::from_std(listener).map_err(Failure::runtime)?;
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.map_err(Failure::runtime)?.0,
            status = child.wait() => {
                let status = status.map_err(Failure::runtime)?;
                // What is wrong, the child has said itself.
                return Err(Failure::exit(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1), "the command has no network of its own"));
            }
            () = tokio::time::sleep(Duration::from_secs(10)) => return Err(Failure::runtime("the command's network did not come up")),
        };
        let _ = std::fs::remove_file(&self.relay);
        let stream = stream.into_std().and_then(|s| s.set_nonblocking(false).map(|()| s)).map_err(Failure::runtime)?;
        let inner = tokio::task::spawn_blocking(move || receive(&stream)).await.map_err(Failure::runtime)?;
        let inner = inner.and_then(|fd| {
            let listener = TcpListener::from(fd);
            listener.set_nonblocking(true)?;
            tokio::net::TcpListener::from_std(listener)
        });
        self.task = Some(tokio::spawn(relay(inner.map_err(Failure::runtime)?, self.proxy)));
        Ok(())
    }
}

impl Drop for Isolation {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
        let _ = std::fs::remove_file(&self.relay);
    }
}

/// Passes connections from the namespace on to the proxy.
async fn relay(inner: tokio::net::TcpListener, proxy: SocketAddr) {
    loop {
        let Ok((mut from, _)) = inner.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        tokio::spawn(async move {
            // A client that connects while Envoy restarts sees its connection closed.
            if let Ok(mut to) = tokio::net::TcpStream::connect(proxy).await {
                let _ = (from.set_nodelay(true), to.set_nodelay(true));
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            }
        });
    }
}

/// Enters the namespace, hands the socket out, and becomes the command.
pub fn run(args: Args) -> Outcome {
    let without = |error: &dyn std::fmt::Display| {
        Failure::runtime(format!(
            "--isolate needs user, network and mount namespaces, which this system does not give: {error}; run without it, or allow \
             them (kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)"
        ))
    };
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let spaces = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
    unshare(spaces).map_err(|error| without(&error))?;
    // user_namespaces(7): without this an ordinary user may not map groups.
    let mapped = std::fs::write("/proc/self/setgroups", "deny")
        .and_then(|()| std::fs::write("/proc/self/uid_map", format!("{uid} {uid} 1")))
        .and_then(|()| std::fs::write("/proc/self/gid_map", format!("{gid} {gid} 1")));
    mapped.map_err(|error| without(&error))?;
    raise_loopback().map_err(|error| without(&error))?;
    let listener = TcpListener::bind(args.proxy).map_err(|error| {
        Failure::runtime(format!("cannot listen on `{}` inside the namespace: {error}", args.proxy))
    })?;
    UnixStream::connect(&args.relay).and_then(|relay| send(&relay, &listener)).map_err(Failure::runtime)?;
    drop(listener);
    let state_dir = args.relay.parent().ok_or_else(|| Failure::runtime("the relay has no directory"))?;
    hide(state_dir).map_err(|error| without(&error))?;
    // Where only one user is mapped, no program could make it another anyway; where that is root, none shall.
    set_no_new_privs(true).map_err(Failure::runtime)?;
    let (program, rest) = args.command.split_first().ok_or_else(|| Failure::usage("there is no command"))?;
    let error = std::process::Command::new(program).args(rest).exec();
    let code = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
    Err(Failure::exit(code, format!("`{}` cannot be started: {error}", program.to_string_lossy())))
}

/// What of the state directory is for agents: whom they trust, and what `attache ca` needs to say so.
const PUBLIC: [&str; 4] = ["ca.pem", "bundle.pem", "bundle.p12", "state.json"];

/// Puts copies of what is public over the state directory. The mount holds wherever the directory is moved to, and
/// cannot be undone: not without CAP_SYS_ADMIN in this namespace, which root would otherwise still have after `exec`,
/// nor from a namespace of the command's own (mount_namespaces(7), *locked*).
fn hide(state_dir: &Path) -> io::Result<()> {
    let read = |name: &'static str| std::fs::read(state_dir.join(name)).map(|content| (name, content));
    let public = PUBLIC.into_iter().map(read).collect::<io::Result<Vec<_>>>()?;
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("attache", state_dir, "tmpfs", flags, c"mode=0755")?;
    for (name, content) in public {
        std::fs::write(state_dir.join(name), content)?;
    }
    remove_capability_from_bounding_set(CapabilitySet::SYS_ADMIN)?;
    Ok(())
}

/// Sets the flag IFF_UP of `lo`, which a new namespace starts without (rtnetlink(7)).
fn raise_loopback() -> io::Result<()> {
    const RTM_NEWLINK: u16 = 16;
    const REQUEST_AND_ACK: u16 = 0x1 | 0x4;
    const LENGTH: u32 = 32;
    const LOOPBACK: i32 = 1;
    const IFF_UP: u32 = 1;
    let mut message = Vec::with_capacity(LENGTH as usize);
    // struct nlmsghdr: length, type, flags, sequence, port
    message.extend(LENGTH.to_ne_bytes());
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(REQUEST_AND_ACK.to_ne_bytes());
    message.extend(1_u32.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    // struct ifinfomsg: family, padding, type, index, flags, which flags change
    message.extend([0; 4]);
    message.extend(LOOPBACK.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    sendto(&socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    // struct nlmsgerr: the header, then 0 or a negative error number
    let mut answer = [0_u8; 64];
    let (length, _) = rustix::net::recv(&socket, &mut answer, RecvFlags::empty())?;
    let error =
        answer.get(..length).and_then(|a| a.get(16..20)).and_then(|e| e.try_into().ok()).map(i32::from_ne_bytes);
    match error {
        Some(0) => Ok(()),
        Some(number) => Err(io::Error::from_raw_os_error(-number)),
        None => Err(io::Error::from(io::ErrorKind::InvalidData)),
    }
}

/// Hands a socket out (SCM_RIGHTS, unix(7)).
fn send(relay: &UnixStream, socket: &TcpListener) -> io::Result<()> {
    let sockets = [socket.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(&sockets)) {
        return Err(io::Error::from(io::ErrorKind::OutOfMemory));
    }
    sendmsg(relay, &[IoSlice::new(b"s")], &mut ancillary, SendFlags::empty())?;
    Ok(())
}

/// Takes a socket that was handed out.
fn receive(relay: &UnixStream) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(relay, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(mut sockets) = message
            && let Some(socket) = sockets.next()
        {
            return Ok(socket);
        }
    }
    Err(io::Error::from(io::ErrorKind::UnexpectedEof))
}
