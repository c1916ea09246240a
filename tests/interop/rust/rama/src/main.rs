//! The rama peer of our tests: the crate `rama-ttrpc` as a server and as a client.

use std::process::ExitCode;

use harness::Checked;
use protos::TestService;
use rama_ttrpc::{Client, ServerConnection};
use tokio::net::{UnixListener, UnixStream};

mod calls;
mod service;
mod streams;

#[allow(dead_code, clippy::all)]
mod protos {
    include!(concat!(env!("OUT_DIR"), "/ttrpc.test.v1.rs"));
}

const SERVICE: &str = "ttrpc.test.v1.TestService";

fn main() -> ExitCode {
    harness::main(serve, call)
}

// rama-ttrpc takes connections, and leaves sockets to its user.
fn path(address: &str) -> &str {
    address.trim_start_matches("unix://")
}

async fn serve(address: String, listening: fn(&str)) -> Checked {
    let listener = UnixListener::bind(path(&address)).map_err(|error| error.to_string())?;
    listening(&address);
    loop {
        let (connection, _) = listener.accept().await.map_err(|error| error.to_string())?;
        tokio::spawn(async move {
            let mut server = ServerConnection::new(connection);
            server.register(TestService(service::Tests));
            // How a connection ends is the other side's to tell.
            let _ = server.start().await;
        });
    }
}

/// One connection to the server under test.
struct Peer {
    client: Client,
}

async fn call(address: String, case: String) -> Checked {
    let connection = UnixStream::connect(path(&address)).await;
    let client = Client::new(connection.map_err(|error| error.to_string())?);
    let peer = Peer { client };
    match case.as_str() {
        "echo" => peer.echo().await,
        "metadata" => peer.metadata().await,
        "error-with-details" => peer.error_with_details().await,
        "odd-code" => peer.odd_code().await,
        "plain-error" => peer.plain_error().await,
        "deadline-told" => peer.deadline_told().await,
        "deadline-passes" => peer.deadline_passes().await,
        "request-limit" => peer.request_limit().await,
        "reply-limit" => peer.reply_limit().await,
        "empty" => peer.empty().await,
        "unknown" => peer.unknown().await,
        "malformed-payload" => peer.malformed_payload().await,
        "concurrent" => peer.concurrent().await,
        "concurrent-lost" => peer.concurrent_lost().await,
        "give-up" => peer.give_up().await,
        "count" => peer.count().await,
        "sum" => peer.sum().await,
        "chat" => peer.chat().await,
        "chat-metadata" => peer.chat_metadata().await,
        "chat-limit" => peer.chat_limit().await,
        "stream-deadline" => peer.stream_deadline().await,
        "stream-fails" => peer.stream_fails().await,
        "stream-fails-at-once" => peer.stream_fails_at_once().await,
        "stream-give-up" => peer.stream_give_up().await,
        "stream-unknown" => peer.stream_unknown().await,
        "streams-concurrent" => peer.streams_concurrent().await,
        "count-many" => peer.count_many().await,
        "count-while-calling" => peer.count_while_calling().await,
        "sum-many" => peer.sum_many().await,
        "chat-many" => peer.chat_many().await,
        _ => Err("there is no such case".into()),
    }
}
