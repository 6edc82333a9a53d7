//! The two ends of the admin socket together.
use super::client::Client;
use super::protocol::*;
use super::socket::AdminSocket;
use crate::testing::TestDir;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

struct Fake;
impl Operations for Fake {
    fn call(&self, request: Request) -> Result<Answer, Failure> {
        match request {
            Request::AccountAdd { jid, password }
                if password.reveal() == "pencil" && jid == "a@example.org" =>
            {
                Ok(Answer::Done)
            }
            Request::AccountRemove { jid } => Err(Failure::new(FailureKind::Missing, format!("no {jid}"))),
            Request::AccountList { .. } => panic!("on purpose"),
            other => Err(Failure::new(FailureKind::Failed, format!("{other:?}"))),
        }
    }
}

/// Serves [`Fake`] while `with` runs against the socket's path.
fn served(name: &str, with: impl FnOnce(PathBuf) + Send + 'static) {
    let dir = TestDir::new(name);
    let path = dir.path().join("admin.sock");
    let socket = AdminSocket::bind(&path).expect("socket");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
    runtime.block_on(async {
        let listener =
            tokio::net::UnixListener::from_std(socket.listener().expect("listener")).expect("listener");
        let server = tokio::spawn(super::server::serve(listener, Arc::new(Fake)));
        tokio::task::spawn_blocking(move || with(path)).await.expect("test thread");
        server.abort();
    });
}

#[test]
fn requests_get_their_replies_one_after_the_other() {
    served("admin-replies", |path| {
        let client = Client::connect(&path).expect("connects").expect("runs");
        let add = Request::AccountAdd { jid: "a@example.org".into(), password: Secret::new("pencil".into()) };
        assert!(matches!(client.call(add), Ok(Answer::Done)));
        let failure = client.call(Request::AccountRemove { jid: "b@x".into() }).expect_err("missing");
        assert_eq!(failure, Failure::new(FailureKind::Missing, "no b@x"));
    });
}

#[test]
fn a_panic_costs_the_request_only() {
    served("admin-panic", |path| {
        let client = Client::connect(&path).expect("connects").expect("runs");
        let failure = client.call(Request::AccountList { after: None }).expect_err("panics");
        assert_eq!(failure.kind, FailureKind::Failed);
        assert!(
            client.call(Request::AccountRemove { jid: "b@x".into() }).is_err_and(|f| f.message == "no b@x")
        );
    });
}

#[test]
fn what_is_no_request_is_answered_and_bounded() {
    served("admin-garbage", |path| {
        let say = |bytes: &[u8]| {
            let mut stream = UnixStream::connect(&path).expect("connects");
            let _ = stream.write_all(bytes);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut reply = String::new();
            let _ = stream.read_to_string(&mut reply);
            reply
        };
        assert!(say(b"{\"do\":\"dance\"}\n").contains("not a request"));
        assert!(say(b"\xff\xfe\n").contains("not a request"));
        assert!(say(&vec![b'x'; REQUEST_BYTES_MAX]).contains("one line of at most"));
        assert_eq!(say(b""), "");
    });
}

#[test]
fn without_a_daemon_there_is_no_client() {
    let dir = TestDir::new("admin-nobody");
    assert!(Client::connect(&dir.path().join("admin.sock")).expect("no error").is_none());
}
