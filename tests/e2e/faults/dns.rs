//! A name that cannot be resolved leads nowhere; one that leads where it may not is refused.

use super::matrix::Component::Dns;
use super::matrix::Fault::{Absent, ComesBack, DiesMidRequest, Slow, Wrong};
use super::matrix::{Check, Sees};
use super::rig::{Ask, Rig, Setup};
use crate::support::dns::Reply;
use crate::support::{Dns as Server, free_address, until};

async fn rig(server: impl std::fmt::Display) -> Rig {
    Rig::new(Setup::default().flags(["--dns-server", &server.to_string()])).await
}

#[tokio::test]
async fn absent() {
    let mut check = Check::of(Dns, Absent);
    let rig = rig(free_address()).await;
    let seen = rig.send_both(Ask::named("a", &rig, "/status/200/absent")).await;
    check.case("no name server is there", &rig, &seen).await;
    check.end(&rig);
}

#[tokio::test]
async fn slow() {
    let mut check = Check::of(Dns, Slow);
    let dns = Server::start().await;
    let rig = rig(dns.address()).await;
    dns.script("never.named.example", [Reply::Silence]);
    dns.script("late.named.example", [Reply::Silence]);
    let (never, late, ()) = tokio::join!(
        rig.send_both(Ask::named("never", &rig, "/status/200/never")),
        rig.send(Ask::named("late", &rig, "/status/200/late")),
        async {
            // It is asked once a second, and the first time in vain.
            dns.wait_for("late.named.example", "A", 1).await;
            dns.answer("late.named.example", ["127.0.0.1"]);
        }
    );
    check.case("it never answers", &rig, &never).await;
    check.case("it answers after a second", &rig, &late).await;
    check.end(&rig);
}

#[tokio::test]
async fn wrong() {
    let mut check = Check::of(Dns, Wrong);
    let dns = Server::start().await;
    let rig = rig(dns.address()).await;
    for (when, name, reply) in [
        ("the name does not exist", "unknown", Reply::NxDomain),
        ("it fails", "fails", Reply::ServFail),
        ("it names a private address", "private", Reply::addresses(["10.0.0.1"])),
        ("it names another address of this machine", "loopback", Reply::addresses(["127.0.0.2"])),
    ] {
        dns.script(&format!("{name}.named.example"), [reply]);
        let seen = rig.send_both(Ask::named(name, &rig, &format!("/status/200/{name}"))).await;
        check.case(when, &rig, &seen).await;
    }
    check.end(&rig);
}

#[tokio::test]
async fn dies_mid_request() {
    let mut check = Check::of(Dns, DiesMidRequest);
    let dns = Server::start().await;
    let rig = rig(dns.address()).await;
    dns.script("asked.named.example", [Reply::Silence]);
    dns.answer("streams.named.example", ["127.0.0.1"]);
    let streaming = rig.stream(Ask::named("streams", &rig, "/streams")).await;
    let (seen, address) = tokio::join!(rig.send_both(Ask::named("asked", &rig, "/status/200/asked-for")), async {
        dns.wait_for("asked.named.example", "A", 1).await;
        let address = dns.address();
        drop(dns);
        address
    });
    let gone = async || tokio::net::TcpStream::connect(address).await.is_err().then_some(());
    until("the server's end", gone).await;
    let streamed = rig.end_of(streaming).await;
    check.case("while it is asked", &rig, &seen).await;
    check.case("while an answer streams", &rig, &streamed).await;
    check.end(&rig);
}

#[tokio::test]
async fn comes_back() {
    let mut check = Check::of(Dns, ComesBack);
    let address = free_address();
    let rig = rig(address).await;
    let seen = rig.send_both(Ask::named("a", &rig, "/status/200/away")).await;
    let dns = Server::on(address).await;
    dns.answer("a.named.example", ["127.0.0.1"]);
    let back = rig.until("/status/200/back", Sees::Answer(200), |path| Ask::named("a", &rig, path)).await;
    check.case("while it is away", &rig, &seen).await;
    check.case("it is started again", &rig, &back).await;
    check.end(&rig);
}
